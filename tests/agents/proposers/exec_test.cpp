#include "agents/proposers/exec.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "runners/worker/landlock.h"
#include "signatures/base/file.h"
#include "tests/agents/proposers/llm/sample_request.h"
#include "tests/scratch_folder.h"

namespace fib::agents {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ExecProposer : public ::testing::Test {
 protected:
  // A program of a few lines of shell.
  std::string program(const std::string& script) {
    const std::filesystem::path file = programs_ / fmt::format("program-{}", ++count_);
    EXPECT_TRUE(write_file_atomically(file, "#!/bin/sh\n" + script));
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    return file.string();
  }

  Result<std::unique_ptr<Proposer>> make(const std::string& script, ExecOptions options = {}) {
    options.program = program(script);
    options.scratch = scratch_.path();
    return make_exec_proposer(std::move(options));
  }

  ProposalOutcome ask(const std::string& script, ExecOptions options = {},
                      const ProposalRequest& request = testing::sample_request()) {
    auto proposer = make(script, std::move(options));
    EXPECT_TRUE(proposer);
    auto outcome = (*proposer)->propose(request);
    EXPECT_TRUE(outcome) << (outcome ? "" : outcome.error().to_string());
    EXPECT_EQ(outcome->solution.has_value(), !outcome->refusal.has_value());
    return *std::move(outcome);
  }

  // A program that answers with this text.
  ProposalOutcome answer(const std::string& text) {
    return ask(fmt::format("cat > /dev/null\ncat <<'END'\n{}\nEND\n", text));
  }

  std::string refusal_of(const ProposalOutcome& outcome) {
    return outcome.refusal ? outcome.refusal->reason + ": " + outcome.refusal->message : "";
  }

  ScratchFolder programs_, scratch_;
  int count_ = 0;
};

const std::string* content(const ProposalOutcome& outcome, const std::string& path) {
  const auto& sources = outcome.solution->sources;
  const auto file = std::ranges::find(sources, path, &SourceFile::path);
  return file == sources.end() ? nullptr : &file->content;
}

const std::string* said(const ProposalOutcome& outcome, const std::string& role) {
  const auto exchange = std::ranges::find(outcome.exchanges, role, &Exchange::role);
  return exchange == outcome.exchanges.end() ? nullptr : &exchange->content;
}

TEST_F(ExecProposer, TakesFilesAndWhatTheyCost) {
  const auto outcome = answer(R"({"files": {"tile.h": "enum { kTile = 8 };\n", "new.h": "// new\n"},
      "note": "larger tiles",
      "cost": {"prompt_tokens": 100, "answer_tokens": 20, "money": 0.5}})");
  ASSERT_TRUE(outcome.solution) << refusal_of(outcome);
  EXPECT_EQ(*content(outcome, "tile.h"), "enum { kTile = 8 };\n");
  EXPECT_EQ(*content(outcome, "new.h"), "// new\n");
  EXPECT_THAT(*content(outcome, "solution.cpp"), HasSubstr("int run();"));
  EXPECT_EQ(outcome.note, "larger tiles");
  EXPECT_EQ(outcome.cost.prompt_tokens, 100);
  EXPECT_EQ(outcome.cost.answer_tokens, 20);
  EXPECT_DOUBLE_EQ(outcome.cost.money, 0.5);
  EXPECT_GT(outcome.cost.seconds, 0.0);
  EXPECT_THAT(*said(outcome, "stdout"), HasSubstr("larger tiles"));
  EXPECT_THAT(*said(outcome, "stdin"), HasSubstr("rmsnorm_h64"));
  EXPECT_EQ(said(outcome, "stderr"), nullptr);
}

TEST_F(ExecProposer, TakesPatchesAndRemovals) {
  const auto outcome = answer(R"({"patches": [{"path": "solution.cpp",
      "search": "#include \"tile.h\"", "replace": "enum { kTile = 16 };"}],
      "files": {"tile.h": null}})");
  ASSERT_TRUE(outcome.solution) << refusal_of(outcome);
  EXPECT_THAT(*content(outcome, "solution.cpp"), HasSubstr("kTile = 16"));
  EXPECT_EQ(content(outcome, "tile.h"), nullptr);
  EXPECT_EQ(outcome.note, "changed solution.cpp, tile.h");
}

TEST_F(ExecProposer, MayChangeFlagsInTheManifest) {
  const auto outcome = answer(
      R"({"files": {"solution.json":
          "{\"target\": \"cpu\", \"entry\": \"solution.cpp\", \"flags\": [\"-DTILE=8\"]}"}})");
  ASSERT_TRUE(outcome.solution) << refusal_of(outcome);
  EXPECT_EQ(outcome.solution->fib.at("flags"), Json::array({"-DTILE=8"}));
}

TEST_F(ExecProposer, TellsTheProgramWhatItNeeds) {
  ProposalRequest request = testing::sample_request();
  request.seed = 0xFFFFFFFFFFFFFFFF;
  CandidateRecord child;
  child.number = 1;
  child.parents = {0};
  child.note = "smaller tiles";
  child.fate = CandidateFate::kRefused;
  request.history = std::make_shared<const std::vector<CandidateRecord>>(
      std::vector<CandidateRecord>{request.parent.record, child});
  request.others = {request.parent};
  const auto outcome =
      ask("cat > seen.json; echo '{\"refusal\": \"no idea\"}'", {.abi = "/usr"}, request);
  const Json seen = Json::parse(*said(outcome, "stdin"));
  EXPECT_EQ(seen.at("version"), 1);
  EXPECT_EQ(seen.at("seed"), 0xFFFFFFFFFFFFFFFF);
  EXPECT_EQ(seen.at("target"), "cpu");
  EXPECT_EQ(seen.at("headers_folder"), "/usr");
  EXPECT_THAT(seen.at("contract").get<std::string>(), HasSubstr("hidden_size"));
  EXPECT_TRUE(seen.at("parent").at("files").contains("solution.cpp"));
  EXPECT_TRUE(seen.at("parent").at("files").contains("solution.json"));
  EXPECT_THAT(seen.at("others"), SizeIs(1));
  EXPECT_EQ(seen.at("tried").at(0).at("note"), "smaller tiles");
  EXPECT_EQ(refusal_of(outcome), "declined: no idea");
}

TEST_F(ExecProposer, AnswersThatAreNoneAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"not JSON", "malformed: stdout:1:"},
      {"", "malformed: stdout"},
      {"[]", "malformed: stdout"},
      {"{}", "has none of files, patches and refusal"},
      {R"({"file": {}})", "did you mean 'files'?"},
      {R"({"files": {"tile.h": 3}})", "stdout: /files/tile.h"},
      {R"({"files": {}, "refusal": "no"})", "has a refusal and changes too"},
      {R"({"refusal": ""})", "stdout: /refusal"},
      {R"({"files": {"gone.h": null}})", "isn't there"},
      {R"({"files": {"solution.json": "{}"}})", "malformed: solution.json"},
      {R"({"files": {"solution.cpp": null}})", "malformed"},
      {R"({"patches": [{"path": "x.h", "search": "a", "replace": ""}]})", "no file 'x.h'"},
      {R"({"patches": [{"path": "tile.h", "search": "nowhere", "replace": ""}]})", "malformed"},
      {R"({"files": {}, "cost": {"money": -1}})", "money is no amount"},
      {R"({"files": {}, "cost": {"prompt_tokens": -1}})", "less than 0"},
      {R"({"files": {}})", "unchanged: "},
      {R"({"files": {"../escape.h": "x"}})", "path: '../escape.h' leads out"},
      {R"({"files": {"/etc/passwd": "x"}})", "path: '/etc/passwd' leads out"},
      {R"({"patches": [{"path": "a/../../b", "search": "x", "replace": ""}]})", "path: "},
      {R"({"refusal": {"reason": "rate-limit", "message": "later"}})", "rate-limit: later"}};
  for (const auto& [text, refusal] : cases) {
    EXPECT_THAT(refusal_of(answer(text)), HasSubstr(refusal)) << text;
  }
}

TEST_F(ExecProposer, CountsWhatARefusalCost) {
  const auto outcome = answer(R"({"refusal": "no idea", "cost": {"money": 2}})");
  EXPECT_TRUE(outcome.refusal);
  EXPECT_DOUBLE_EQ(outcome.cost.money, 2.0);
}

TEST_F(ExecProposer, ACrashIsRefusedWithItsLastWords) {
  const auto outcome = ask("echo 'no key given' >&2; exit 3");
  EXPECT_THAT(refusal_of(outcome),
              AllOf(HasSubstr("crash: exited with code 3"), HasSubstr("no key given")));
  EXPECT_EQ(*said(outcome, "stderr"), "no key given\n");
  EXPECT_THAT(refusal_of(ask("kill -SEGV $$")), HasSubstr("killed by signal 11"));
  EXPECT_LT(ask("seq 100000 >&2; exit 1").refusal->message.size(), 1200u);
}

TEST_F(ExecProposer, AHangIsEndedWithAllThatItStarted) {
  const auto outcome = ask("sleep 1000 & echo $!; sleep 1000", {.timeout_s = 0.2});
  EXPECT_EQ(refusal_of(outcome), "timeout: no answer after 0.2 s (--exec-timeout)");
  ASSERT_NE(*said(outcome, "stdout"), "");
  // A killed process has no command line, also where nobody has reaped it yet.
  const int left_behind = std::stoi(*said(outcome, "stdout"));
  while (!read_file(fmt::format("/proc/{}/cmdline", left_behind)).value_or("").empty()) {
    std::this_thread::yield();
  }
}

TEST_F(ExecProposer, AnEndlessAnswerIsEndedAndCut) {
  const auto outcome = ask("yes", {.max_answer_bytes = 10000});
  EXPECT_EQ(refusal_of(outcome), "malformed: the answer has more than 9.766 KiB");
  EXPECT_LT(said(outcome, "stdout")->size(), 11000u);
}

TEST_F(ExecProposer, IsEndedWithTheRun) {
  ProposalRequest request = testing::sample_request();
  request.cancelled = [] { return true; };
  EXPECT_THAT(refusal_of(ask("sleep 1000", {}, request)), HasSubstr("cancelled: "));
}

TEST_F(ExecProposer, WaitsForItsTurn) {
  const auto proposer = make("echo '{\"refusal\": \"no\"}'", {.parallel = 1});
  ASSERT_TRUE(proposer);
  std::vector<std::thread> askers;
  std::atomic<int> answers = 0;
  for (int i = 0; i < 3; ++i) {
    askers.emplace_back([&] {
      const auto outcome = (*proposer)->propose(testing::sample_request());
      if (outcome && outcome->refusal->reason == "declined") ++answers;
    });
  }
  for (std::thread& asker : askers) asker.join();
  EXPECT_EQ(answers, 3);
}

TEST_F(ExecProposer, StartsInAnEmptyFolderThatIsGoneAfterwards) {
  const auto outcome =
      ask("ls -A; pwd >&2; test \"$HOME\" = \"$PWD\" || exit 4; echo here > file; exit 5",
          {.environment = {{"HOME", "/nowhere"}}});
  EXPECT_THAT(refusal_of(outcome), HasSubstr("exited with code 5"));
  EXPECT_THAT(*said(outcome, "stdout"), IsEmpty());
  EXPECT_TRUE(std::filesystem::is_empty(scratch_.path()));
}

TEST_F(ExecProposer, GetsItsArgumentsAndOnlyItsEnvironment) {
  const auto outcome = ask("echo \"$1|$FIB_TEST|$USER\"",
                           {.arguments = {"a b"}, .environment = {{"FIB_TEST", "set"}}});
  EXPECT_EQ(*said(outcome, "stdout"), "a b|set|\n");
}

TEST_F(ExecProposer, ReadsAndWritesWhereItMay) {
  if (landlock_abi() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  const ScratchFolder elsewhere;
  ASSERT_TRUE(write_file_atomically(elsewhere / "secret", "42"));
  const std::string script = fmt::format(
      "cat {0}/secret && exit 1\necho x > {0}/escape && exit 2\necho x > mine || exit 3\nexit 9",
      elsewhere.path().string());
  EXPECT_THAT(refusal_of(ask(script)), HasSubstr("exited with code 9"));
  EXPECT_FALSE(std::filesystem::exists(elsewhere / "escape"));
  EXPECT_THAT(refusal_of(ask(script, {.readable = {elsewhere.path()}})),
              HasSubstr("exited with code 1"));
}

TEST_F(ExecProposer, ReadsItsInstallationBesideBin) {
  if (landlock_abi() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  const ScratchFolder installed;
  const std::string prefix = installed.path().string();
  for (const char* file : {"lib/part", "share/secret"}) {
    std::filesystem::create_directories((installed / file).parent_path());
    ASSERT_TRUE(write_file_atomically(installed / file, "42"));
  }
  const std::string script = program(
      fmt::format("cat {0}/lib/part || exit 1\ncat {0}/share/secret && exit 2\nexit 9", prefix));
  std::filesystem::create_directories(installed / "bin");
  std::filesystem::rename(script, installed / "bin/tool");
  std::filesystem::create_symlink(installed / "bin/tool", programs_ / "tool");
  for (const std::filesystem::path& name : {installed / "bin/tool", programs_ / "tool"}) {
    const auto proposer =
        make_exec_proposer({.program = name.string(), .scratch = scratch_.path()});
    ASSERT_TRUE(proposer);
    const auto outcome = (*proposer)->propose(testing::sample_request());
    EXPECT_THAT(refusal_of(*outcome), HasSubstr("exited with code 9")) << name;
  }
}

TEST_F(ExecProposer, HasAHomeOfItsOwnWhereOneIsNamed) {
  const ScratchFolder home, state;
  ASSERT_TRUE(write_file_atomically(home / "settings", "42"));
  const std::string script = fmt::format(
      "cat \"$HOME/settings\" || exit 1\necho x > \"$HOME/session\" || exit 2\n"
      "echo x > {}/log || exit 3\ntest \"$TMPDIR\" = \"$PWD\" || exit 4\nexit 9",
      state.path().string());
  const auto outcome =
      ask(script,
          {.environment = {{"HOME", "/nowhere"}}, .home = home.path(), .writable = {state.path()}});
  EXPECT_THAT(refusal_of(outcome), HasSubstr("exited with code 9"));
  EXPECT_TRUE(std::filesystem::exists(home / "session"));
  EXPECT_TRUE(std::filesystem::exists(state / "log"));
}

TEST_F(ExecProposer, SaysWhyAProgramMeetsNothingThatItKnows) {
  EXPECT_THAT(refusal_of(ask("cat my_settings.json")),
              AllOf(HasSubstr("need their whole path; it printed:\n"), HasSubstr("No such file")));
  EXPECT_EQ(refusal_of(ask("echo 'no key given' >&2; exit 3")),
            "crash: exited with code 3; it printed:\nno key given\n");
  if (landlock_abi() == 0) GTEST_SKIP() << "this kernel has no Landlock";
  const ScratchFolder elsewhere;
  ASSERT_TRUE(write_file_atomically(elsewhere / "secret", "42"));
  EXPECT_THAT(refusal_of(ask("cat " + (elsewhere / "secret").string())),
              HasSubstr("--exec-readable"));
  // An interpreter that it may not read doesn't even begin.
  std::filesystem::copy_file("/bin/sh", elsewhere / "sh");
  const std::string script = program("");
  ASSERT_TRUE(write_file_atomically(script, "#!" + (elsewhere / "sh").string() + "\n"));
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  const auto proposer = make_exec_proposer({.program = script, .scratch = scratch_.path()});
  const auto outcome = (*proposer)->propose(testing::sample_request());
  ASSERT_FALSE(outcome);
  EXPECT_THAT(outcome.error().remedy, HasSubstr("--exec-readable"));
}

TEST_F(ExecProposer, IsRefusedMoreMemoryThanItMayHave) {
  const auto outcome = ask("head -c 2000000000 /dev/zero | tail -c 1500000000 > /dev/null",
                           {.memory_bytes = size_t{256} << 20});
  EXPECT_THAT(*said(outcome, "stderr"), HasSubstr("memory"));
}

TEST_F(ExecProposer, APogramThatIsNotThereIsAnError) {
  for (const char* name : {"/nowhere/program", "no-such-program-at-all", "/usr"}) {
    const auto proposer = make_exec_proposer({.program = name, .scratch = scratch_.path()});
    ASSERT_FALSE(proposer) << name;
    EXPECT_EQ(proposer.error().code, ErrorCode::kNotFound);
  }
  EXPECT_TRUE(make_exec_proposer({.program = "sh", .scratch = scratch_.path()}));
}

TEST_F(ExecProposer, TheExampleLetsACodingAgentEdit) {
  const std::string agent = program(
      "grep -q hidden_size TASK.md || exit 7\n"
      "echo 'I think about' \"$2\"\n"
      "echo 'enum { kTile = 32 };' > tile.h\n"
      "mkdir -p parts && echo '// part' > parts/part.h && echo junk > notes.md\n"
      "echo 'tiles of 32' > NOTE.txt\n");
  ExecOptions options{.arguments = {agent, "--print", "{prompt}"}, .scratch = scratch_.path()};
  options.program = FIB_SOURCE_DIR "/agents/examples/coding_agent_proposer.py";
  options.readable = {programs_.path()};
  const auto proposer = make_exec_proposer(options);
  ASSERT_TRUE(proposer) << proposer.error().to_string();
  const auto outcome = (*proposer)->propose(testing::sample_request());
  ASSERT_TRUE(outcome);
  ASSERT_TRUE(outcome->solution) << refusal_of(*outcome);
  EXPECT_EQ(*content(*outcome, "tile.h"), "enum { kTile = 32 };\n");
  EXPECT_EQ(*content(*outcome, "parts/part.h"), "// part\n");
  EXPECT_THAT(outcome->solution->sources, SizeIs(3));
  EXPECT_EQ(outcome->note, "tiles of 32");
  EXPECT_THAT(*said(*outcome, "stderr"), HasSubstr("I think about Read TASK.md"));

  options.arguments = {"true"};
  const auto idle = (*make_exec_proposer(options))->propose(testing::sample_request());
  EXPECT_EQ(refusal_of(*idle), "declined: the agent changed nothing");
}

TEST(SplitCommand, SplitsAsAShellDoes) {
  EXPECT_THAT(*split_command("a  b\tc"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(*split_command("'a b' \"c \\\" d\" e\\ f ''"),
              ElementsAre("a b", "c \" d", "e f", ""));
  EXPECT_THAT(*split_command("x'y'\"z\""), ElementsAre("xyz"));
  EXPECT_FALSE(split_command("  "));
  EXPECT_FALSE(split_command("'open"));
}

}  // namespace
}  // namespace fib::agents
