#include "agents/proposers/llm/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "signatures/solution_folder.h"
#include "tests/agents/proposers/llm/sample_request.h"

namespace fib::agents {
namespace {

using ::testing::HasSubstr;
using testing::sample_solution;

Result<Answer> parsed(std::string_view text) {
  return parse_answer(text, editable_files(sample_solution()));
}

std::string content(const Answer& answer, std::string_view path) {
  for (const SourceFile& file : answer.files) {
    if (file.path == path) return file.content;
  }
  return "(no such file)";
}

Error complaint(std::string_view text) {
  const auto answer = parsed(text);
  if (!answer) return answer.error();
  ADD_FAILURE() << "taken: " << text;
  return {};
}

TEST(Answer, TakesAPatchAFileAndANewFile) {
  const auto answer = parsed(
      "The kernel waits for memory.\n"
      "NOTE:  wider tiles \n"
      "\n"
      "```patch solution.cpp\n<<<<<<< SEARCH\nint run();\n=======\nint run(int);\n>>>>>>> REPLACE\n"
      "```\n"
      "and\n"
      "```file tile.h\nenum { kTile = 8 };\n```  \n"
      "````new inner/loop.h\n// ```\n```\n````\n"
      "That is all.\n");
  ASSERT_TRUE(answer) << answer.error().to_string();
  EXPECT_EQ(answer->note, "wider tiles");
  EXPECT_EQ(answer->files.size(), 4u);
  EXPECT_EQ(content(*answer, "solution.cpp"),
            "#include <fib/cpu.h>\n#include \"tile.h\"\nint run(int);\n");
  EXPECT_EQ(content(*answer, "tile.h"), "enum { kTile = 8 };\n");
  EXPECT_EQ(content(*answer, "inner/loop.h"), "// ```\n```\n");
}

TEST(Answer, LinesMayEndAsOnWindows) {
  EXPECT_EQ(content(parsed("```file tile.h\r\nenum {};\r\n```\r\n").value(), "tile.h"),
            "enum {};\n");
}

TEST(Answer, WithoutANoteTheFilesAreOne) {
  EXPECT_EQ(parsed("```file tile.h\nenum {};\n```").value().note, "changed tile.h");
  EXPECT_EQ(parsed("NOTE:\n```file tile.h\nenum {};\n```").value().note, "changed tile.h");
}

TEST(Answer, ALongNoteIsCutBetweenCharacters) {
  std::string note;
  for (int i = 0; i < 150; ++i) note += "é";
  EXPECT_EQ(parsed("NOTE: " + note + "\n```file tile.h\nenum {};\n```").value().note,
            note.substr(0, 200));
}

TEST(Answer, NamesWhatIsWrong) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"", "without a block"},
      {"I can't help with that.", "without a block"},
      {"NOTE: nothing", "without a block"},
      {"```cpp\nint run();\n```", "line 1: a block that begins with '```cpp'"},
      {"text\n```\nint run();\n```", "line 2: a block that begins with '```'"},
      {"```file\nx\n```", "```file names no file"},
      {"```file  \nx\n```", "```file names no file"},
      {"```patch tile.h\n<<<<<<< SEARCH\n", "has no end"},
      {"````file tile.h\nx\n```", "has no end"},
      {"```file tile.hpp\nx\n```",
       "no file 'tile.hpp' (it has solution.cpp, tile.h, solution.json"},
      {"```patch other.cpp\n```", "no file 'other.cpp'"},
      {"```new tile.h\nx\n```", "has a file 'tile.h' already"},
      {"```new solution.json\n{}\n```", "has a file 'solution.json' already"},
      {"```new tile.h/x\nx\n```", "can't be in one folder"},
      {"```new a\nx\n```\n```new a/b\nx\n```", "can't be in one folder"},
      {"```file tile.h\n```", "would be empty"},
      {"```file tile.h\n\n  \n```", "would be empty"},
      {"```file tile.h\nx\n```\n```patch tile.h\n```", "line 4: a second block for 'tile.h'"},
      {"```patch tile.h\nenum { kTile = 8 };\n```", "stands outside an edit"},
      {"```patch tile.h\n<<<<<<< SEARCH\nenum\n=======\nx\n>>>>>>> REPLACE\n```",
       "line 2: the search text isn't in tile.h"},
      {"```file tile.h\nx\n```\n```", "line 4: a block that begins with '```'"},
  };
  for (const auto& [text, expected] : cases) {
    const Error error = complaint(text);
    EXPECT_THAT(error.to_string(), HasSubstr(std::string(expected))) << text;
    EXPECT_EQ(error.code, ErrorCode::kInvalidInput) << text;
  }
}

TEST(Answer, ZeroBytesAndGiantsAreRefused) {
  EXPECT_THAT(complaint(std::string("```file tile.h\n\0\n```", 20)).message,
              HasSubstr("zero byte"));
  EXPECT_THAT(complaint("```file tile.h\n" + std::string((1 << 20) + 1, 'x') + "\n```").remedy,
              HasSubstr("1 MiB"));
}

TEST(Answer, PathsStayInTheSolution) {
  for (const char* path :
       {"../x.cpp", "/etc/passwd", "a/../../x", "a//b", "./x.cpp", ".git/config", "a/.hidden",
        "a\\b", "a/", "two words", "~/x", "$HOME", "x\ty", "naïve.h"}) {
    for (const char* kind : {"new", "file", "patch"}) {
      const Error error = complaint(std::string("```") + kind + " " + path + "\nx\n```");
      EXPECT_EQ(error.code, ErrorCode::kUnsupported) << path;
      EXPECT_THAT(error.message, HasSubstr("no path of the solution")) << path;
    }
  }
  EXPECT_EQ(complaint("```new " + std::string(300, 'x') + "\nx\n```").code,
            ErrorCode::kUnsupported);
}

TEST(Answer, MakesASolutionOfTheFiles) {
  const Solution before = sample_solution();
  const auto answer = parsed(
      "```patch solution.json\n<<<<<<< SEARCH\n  \"entry\": \"solution.cpp\"\n=======\n"
      "  \"entry\": \"solution.cpp\",\n  \"flags\": [\"-ffast-math\"]\n>>>>>>> REPLACE\n```\n"
      "```new extra.h\nint extra;\n```");
  ASSERT_TRUE(answer) << answer.error().to_string();
  const auto child = with_files(before, answer->files);
  ASSERT_TRUE(child) << child.error().to_string();
  EXPECT_EQ(child->name, "plain");
  EXPECT_EQ(child->sources.size(), 3u);
  EXPECT_EQ(child->sources.back().content, "int extra;\n");
  EXPECT_EQ(manifest_of(*child).value().flags, std::vector<std::string>{"-ffast-math"});
  EXPECT_NE(solution_key(*child), solution_key(before));
  EXPECT_EQ(solution_key(with_files(before, editable_files(before)).value()), solution_key(before));
}

TEST(Answer, AManifestMustHold) {
  const std::pair<std::string_view, std::string_view> cases[] = {
      {"{", "solution.json:"},
      {"[]", "not an object"},
      {R"({"target": "cpu", "entry": "gone.cpp"})", "not among the sources"},
      {R"({"target": "cpu", "entry": "solution.cpp", "flags": ["-march=x"]})", "not allowed"},
      {R"({"target": "cpu", "entry": "solution.cpp", "kind": 1})", "kind"},
      {R"({"target": "cpu", "entry": "solution.cpp", "tunables": {"N": {"values": [1], "initial": 2}}})",
       "initial"},
      {R"({"target": "cuda", "entry": "solution.cpp", "plan": "tile.h", "kernels": ["k"]})",
       "the target is 'cpu' and stays so"},
  };
  for (const auto& [manifest, expected] : cases) {
    const auto answer = parsed("```file solution.json\n" + std::string(manifest) + "\n```");
    ASSERT_TRUE(answer) << manifest;
    const auto child = with_files(sample_solution(), answer->files);
    ASSERT_FALSE(child) << manifest;
    EXPECT_THAT(child.error().to_string(), HasSubstr(std::string(expected))) << manifest;
    EXPECT_EQ(child.error().code, ErrorCode::kInvalidInput);
  }
}

TEST(Answer, ThoughtsAreNotPartOfIt) {
  EXPECT_EQ(without_thoughts("\n<think>\n```cpp\n```\n</think>\nNOTE: x"), "\nNOTE: x");
  EXPECT_EQ(without_thoughts("<think> for ever"), "<think> for ever");
  EXPECT_EQ(without_thoughts("a <think>b</think>"), "a <think>b</think>");
  EXPECT_EQ(without_thoughts(""), "");
}

}  // namespace
}  // namespace fib::agents
