#include "agents/feedback/compile_messages.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fib::agents {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Severity = CompileMessage::Severity;

TEST(CompileMessages, OfGccHaveTheirPlaceAndHowATemplateCameToBe) {
  const auto messages = read_compile_log(
      "solution.cpp: In function 'int f()':\n"
      "solution.cpp:1:17: error: 'undefined_thing' was not declared in this scope\n"
      "    1 | int f(){ return undefined_thing; }\n"
      "      |                 ^~~~~~~~~~~~~~~\n"
      "solution.cpp:4:15: warning: no return statement [-Wreturn-type]\n"
      "solution.cpp: In instantiation of 'void g(T) [with T = int]':\n"
      "solution.cpp:3:12:   required from here\n"
      "tile.h:2:34: error: request for member 'foo' in 't'\n"
      "/usr/include/c++/12/bits/stl_vector.h:1:2: note: candidate: 'void x()'\n");
  ASSERT_THAT(messages, SizeIs(3));
  EXPECT_EQ(messages[0].file, "solution.cpp");
  EXPECT_EQ(messages[0].line, 1);
  EXPECT_EQ(messages[0].column, 17);
  EXPECT_EQ(messages[0].text, "'undefined_thing' was not declared in this scope");
  EXPECT_EQ(messages[1].severity, Severity::kWarning);
  EXPECT_EQ(messages[2].file, "tile.h");
  EXPECT_THAT(messages[2].notes, ElementsAre("solution.cpp:3:12:   required from here",
                                             "bits/stl_vector.h:1: note: candidate: 'void x()'"));
}

TEST(CompileMessages, OfNvrtcAndPtxas) {
  const auto messages = read_compile_log(
      "kernel.cu(12): error: identifier \"foo\" is undefined\n"
      "      foo(1);\n"
      "      ^\n"
      "          detected during instantiation of \"void k<T>()\" at line 20\n"
      "\n"
      "kernel.cu(30): warning #177-D: variable \"x\" was declared but never referenced\n"
      "Remark: The warnings can be suppressed with \"-diag-suppress <warning-number>\"\n"
      "1 error detected in the compilation of \"kernel.cu\".\n"
      "ptxas info    : (C7510) Potential Performance Loss: wgmma.mma_async instructions are "
      "serialized\n"
      "ptxas info    : Used 40 registers\n"
      "ptxas error   : Entry function '_Z1kv' uses too much shared data (0x20000 bytes, 0xc000 "
      "max)\n"
      "ptxas kernel.ptx, line 12; error   : Unknown symbol 'y'\n");
  ASSERT_THAT(messages, SizeIs(5));
  EXPECT_EQ(messages[0].file, "kernel.cu");
  EXPECT_EQ(messages[0].line, 12);
  EXPECT_EQ(messages[0].text, "identifier \"foo\" is undefined");
  EXPECT_THAT(messages[0].notes, ElementsAre(HasSubstr("at line 20")));
  EXPECT_EQ(messages[1].severity, Severity::kWarning);
  EXPECT_THAT(messages[2].text, HasSubstr("Performance Loss"));
  EXPECT_EQ(messages[2].severity, Severity::kWarning);
  EXPECT_THAT(messages[3].text, HasSubstr("too much shared data"));
  EXPECT_EQ(messages[4].text, "ptxas: Unknown symbol 'y'");
}

TEST(CompileMessages, OfTheLinkerAndOfTheBuilders) {
  const auto messages = read_compile_log(
      "/usr/bin/ld: /tmp/cc1.o: in function `f()':\n"
      "solution.cpp:(.text+0xa): undefined reference to `nope(int)'\n"
      "collect2: error: ld returned 1 exit status\n");
  ASSERT_THAT(messages, SizeIs(1));
  EXPECT_EQ(messages[0].text, "undefined reference to `nope(int)'");
  EXPECT_THAT(messages[0].file, IsEmpty());

  const auto missing = read_compile_log("kernel.cu: no kernel 'k<8>' (from \"kernels\")\n");
  ASSERT_THAT(missing, SizeIs(1));
  EXPECT_EQ(missing[0].severity, Severity::kError);
  const auto spilled = read_compile_log("k<8>: 255 registers, 16 bytes spilled a thread\n");
  ASSERT_THAT(spilled, SizeIs(1));
  EXPECT_EQ(spilled[0].severity, Severity::kWarning);
}

TEST(CompileMessages, OfWhatCostsTimeComeBeforeWarningsOfTheSources) {
  std::string log;
  for (int i = 1; i < 9; ++i) log += fmt::format("kernel.cu({}): warning #177-D: unused\n", i);
  log +=
      "ptxas info    : (C7517) warpgroup.wait is injected by compiler to allow use of registers "
      "defined by GMMA in function 'early<4>'\n"
      "late<4>: 256 bytes of local memory a thread: an array\n";
  const Json json = compile_log_to_json(log, {});
  ASSERT_THAT(json.at("messages"), SizeIs(4));
  EXPECT_THAT(json.at("messages")[0].at("text").get<std::string>(), HasSubstr("'early<4>'"));
  EXPECT_EQ(json.at("messages")[0].at("severity"), "warning");
  EXPECT_THAT(json.at("messages")[1].at("text").get<std::string>(), HasSubstr("late<4>: 256"));
  EXPECT_EQ(json.at("messages")[2].at("line"), 1);
  EXPECT_EQ(json.at("omitted"), 6);
}

TEST(CompileMessages, AreQuotedFromTheSourcesAndSaidOnce) {
  const std::vector<SourceFile> sources = {{"kernel.cu", "first\nsecond\nthird\nfourth\n"}};
  const Json log = compile_log_to_json(
      "kernel.cu(3): error: bad\nkernel.cu(3): error: bad\nkernel.cu(1): warning #1-D: meh\n"
      "other.h(2): error: worse\nkernel.cu(99): error: past the end\n",
      sources);
  ASSERT_THAT(log.at("messages"), SizeIs(3));
  EXPECT_EQ(log.at("messages")[0].at("source"),
            "     2 | second\n>    3 | third\n     4 | fourth\n");
  EXPECT_FALSE(log.at("messages")[1].contains("source"));
  EXPECT_FALSE(log.at("messages")[2].contains("source"));
  EXPECT_EQ(log.at("omitted"), 1);  // the warning
}

TEST(CompileMessages, OfALogOfAnyLengthAreFew) {
  std::string log;
  for (int i = 1; i < 5000; ++i) {
    log += "kernel.cu(" + std::to_string(i) + "): error: " + std::string(2000, 'x') + "\n";
  }
  const Json json = compile_log_to_json(log, {});
  EXPECT_LT(json.dump().size(), 8000u);
  EXPECT_GT(json.at("omitted"), 4000);
}

TEST(CompileMessages, WhatCannotBeReadIsKeptShort) {
  EXPECT_TRUE(compile_log_to_json("", {}).is_null());
  EXPECT_TRUE(compile_log_to_json(" \n\n", {}).is_null());
  const Json json = compile_log_to_json(std::string(100000, 'x'), {});
  EXPECT_LT(json.at("text").get<std::string>().size(), 2100u);
}

}  // namespace
}  // namespace fib::agents
