#include "runners/worker/header_digests.h"

#include <gmock/gmock.h>

#include "tests/runners/temporary_folder.h"

namespace fib {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Key;

class HeaderDigestsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(folder_.path() / "fib/cpu");
    std::filesystem::create_directories(folder_.path() / "fib/device");
    folder_.write("fib/cpu.h", "#pragma once\n");
    folder_.write("fib/cpu/bf16.h", "#include <fib/cpu.h>\n#include <stdint.h>\n");
    folder_.write("fib/cpu/gemm.h", "  #  include \"fib/cpu/bf16.h\"\n");
    folder_.write("fib/device/mma.h", "");
    folder_.write("fib/plan.h", "");
    folder_.write("fib/philox.h", "");
  }
  std::set<std::string> included_by(const std::string& code) {
    const auto included =
        included_headers({.name = "mine", .sources = {{"solution.cpp", code}}}, folder_.path());
    EXPECT_TRUE(included);
    return included.value_or(std::set<std::string>());
  }
  TemporaryFolder folder_;
};

TEST_F(HeaderDigestsTest, AreOfTheTargetsHeaders) {
  EXPECT_THAT(header_digests(folder_.path(), "cpu").value(),
              ElementsAre(Key("fib/cpu.h"), Key("fib/cpu/bf16.h"), Key("fib/cpu/gemm.h"),
                          Key("fib/philox.h")));
  EXPECT_THAT(header_digests(folder_.path(), "cuda").value(),
              ElementsAre(Key("fib/device/mma.h"), Key("fib/philox.h"), Key("fib/plan.h")));
  EXPECT_FALSE(header_digests(folder_.path() / "nowhere", "cpu"));
}

TEST_F(HeaderDigestsTest, ChangeWithTheHeaderAlone) {
  const HeaderDigests before = header_digests(folder_.path(), "cpu").value();
  folder_.write("fib/cpu/bf16.h", "#include <fib/cpu.h>\n#include <stddef.h>\n");
  const HeaderDigests after = header_digests(folder_.path(), "cpu").value();
  EXPECT_NE(before.at("fib/cpu/bf16.h"), after.at("fib/cpu/bf16.h"));
  EXPECT_EQ(before.at("fib/cpu/gemm.h"), after.at("fib/cpu/gemm.h"));
}

TEST_F(HeaderDigestsTest, SurviveBeingText) {
  const HeaderDigests digests = header_digests(folder_.path(), "cpu").value();
  EXPECT_EQ(parse_header_digests(header_digests_text(digests)), digests);
  EXPECT_EQ(header_digests_text({{"fib/a.h", "01"}, {"fib/b.h", "02"}}), "fib/a.h 01, fib/b.h 02");
  EXPECT_THAT(parse_header_digests(""), IsEmpty());
  EXPECT_THAT(parse_header_digests("nonsense, , fib/a.h 01"), ElementsAre(Key("fib/a.h")));
}

TEST_F(HeaderDigestsTest, IncludesAreFollowed) {
  EXPECT_THAT(included_by("#include <vector>\n#include <fib/cpu/gemm.h>"),
              ElementsAre("fib/cpu.h", "fib/cpu/bf16.h", "fib/cpu/gemm.h"));
  EXPECT_THAT(included_by("int fib_run();\n// see fib/cpu.h\n#include \"mine.h\"\n"), IsEmpty());
  EXPECT_THAT(included_by("#include <fib/gone.h>\n#include <fib/../../passwd>\n#include <fib/"),
              ElementsAre("fib/", "fib/../../passwd", "fib/gone.h"))
      << "named, and not read";
}

}  // namespace
}  // namespace fib
