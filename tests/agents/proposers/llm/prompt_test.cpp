#include "agents/proposers/llm/prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/scratch_folder.h"

namespace fib::agents {
namespace {

using ::testing::HasSubstr;

TEST(Prompt, ValuesAreInsertedAsTheyAre) {
  const auto prompt = PromptTemplate::parse("a {{x}} b {{y}}{{x}}", "p.md", {"x", "y"});
  ASSERT_TRUE(prompt);
  EXPECT_EQ(prompt->render({{"x", "{{y}}"}, {"y", "}}"}}), "a {{y}} b }}{{y}}");
  EXPECT_EQ(prompt->render({{"x", "\nend\n\n"}, {"y", "\n"}}), "a \nend b \nend");
  EXPECT_THROW(prompt->render({{"x", ""}}), std::logic_error);
}

TEST(Prompt, ErrorsNameFileAndLine) {
  const auto unknown = PromptTemplate::parse("a\nb {{z}}", "p.md", {"x", "y"});
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().to_string(), "p.md:2: no placeholder is named 'z' (there are x, y)");
  const auto open = PromptTemplate::parse("a\n\nb {{x", "p.md", {"x"});
  ASSERT_FALSE(open);
  EXPECT_THAT(open.error().to_string(), HasSubstr("p.md:3: a placeholder has no end"));
}

TEST(Prompt, TheOnesThatComeWithFibAreReadAndSayTheFormat) {
  const auto prompts = read_prompts(FIB_SOURCE_DIR "/agents/prompts/v1");
  ASSERT_TRUE(prompts) << prompts.error().to_string();
  EXPECT_GE(prompts->directions.size(), 5u);
  const std::string system = prompts->system.render({{"target_rules", prompts->target_cpu}});
  for (const char* part : {"```patch ", "```file ", "```new ", "<<<<<<< SEARCH\n", "\n=======\n",
                           "\n>>>>>>> REPLACE\n", "\nNOTE: ", "parallel_for"}) {
    EXPECT_THAT(system, HasSubstr(part));
  }
}

TEST(Prompt, AFolderThatLacksAFileIsAnError) {
  const ScratchFolder folder;
  const auto missing = read_prompts(folder.path());
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().to_string(), HasSubstr(folder.path().string()));
  for (const auto& file :
       std::filesystem::directory_iterator(FIB_SOURCE_DIR "/agents/prompts/v1")) {
    std::filesystem::copy(file, folder.path());
  }
  EXPECT_TRUE(read_prompts(folder.path()));
  std::ofstream(folder / "directions.md") << "no list\n";
  EXPECT_THAT(read_prompts(folder.path()).error().message, HasSubstr("'- '"));
}

}  // namespace
}  // namespace fib::agents
