#pragma once

// A search in a world that knows its answers: solutions say in their source how fast they are, the
// bench reads it, proposers are scripts.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <sstream>

#include "agents/search/run.h"
#include "leaderboard/candidate_json.h"
#include "tests/scratch_folder.h"

namespace fib::agents {

// What a solution of this world is.
struct Nature {
  double speed = 1.0;      // of the first, honest measurement
  double confirmed = 0.0;  // of the second; 0: the same
  std::string code;        // its machine code; empty: all its own
  // "broken" (doesn't compile), "wrong", "race-wrong", "late-wrong", "unpaired", "never-confirmed"
  std::string trouble;
  int64_t code_bytes = 1000;

  std::string text() const {
    return fmt::format("{} {} {} {} {}\n", speed, confirmed, code.empty() ? "-" : code,
                       trouble.empty() ? "-" : trouble, code_bytes);
  }
  static Nature of(const Solution& solution) {
    Nature nature;
    std::istringstream in(solution.sources.front().content);
    in >> nature.speed >> nature.confirmed >> nature.code >> nature.trouble >> nature.code_bytes;
    if (nature.code == "-") nature.code = solution_key(solution);
    return nature;
  }
};

inline Solution solution_of(const Nature& nature, std::string name = "plain") {
  Solution solution;
  solution.name = std::move(name);
  solution.definition = "rmsnorm";
  solution.author = "somebody";
  solution.language = SolutionLanguage::kCpp;
  solution.target_hardware = {"cpu"};
  solution.entry_point = "solution.cpp::fib_run";
  solution.where = "test";
  solution.sources = {{"solution.cpp", nature.text()}};
  solution.fib = Json{{"target", "cpu"}, {"entry", "solution.cpp"}, {"license", "MIT"}};
  return solution;
}

class FakeBench : public Bench {
 public:
  FakeBench(int devices, int builders) : devices_(devices), builders_(builders), busy_(devices) {}

  int devices() const override { return devices_; }
  int builders() const override { return builders_; }

  Result<BuiltCandidate> build(const Solution& solution) override {
    const Nature nature = Nature::of(solution);
    ++builds;
    if (on_build) on_build();
    if (nature.trouble == "bench-gone") return fail(ErrorCode::kEnvironment, "the device is gone");
    if (nature.trouble == "bug") throw std::logic_error("a bug of the bench");
    BuiltCandidate built;
    built.build_s = 0.25;
    built.compiles = nature.trouble != "broken";
    if (!built.compiles) {
      built.log = "solution.cpp:1: error: no\nmore";
      return built;
    }
    built.code_key = nature.code;
    built.behaviour.code_bytes = nature.code_bytes;
    return built;
  }

  Result<Screening> screen(int device, const Solution& solution, const BuiltCandidate&) override {
    const Busy busy(*this, device);
    const Nature nature = Nature::of(solution);
    ++screenings;
    Screening screening;
    screening.device_s = 0.125;
    if (nature.trouble == "wrong") {
      screening.verdict.status = VerdictStatus::kIncorrectNumerical;
      screening.verdict.message = "element 7 is wrong";
      return screening;
    }
    screening.speedup = nature.speed;
    screening.speedup_low = nature.speed * 0.9;
    screening.speedup_high = nature.speed * 1.1;
    return screening;
  }

  Result<Race> race(int device, const Solution& solution, const BuiltCandidate&,
                    const RaceRequest& request) override {
    const Busy busy(*this, device);
    const Nature nature = Nature::of(solution);
    ++races;
    {
      const std::lock_guard lock(mutex_);
      rivals.push_back(request.rival);
    }
    EXPECT_EQ(request.screening.speedup, nature.speed);
    Race race{.verdicts = {request.screening.verdict, {}}, .workloads = 2, .device_s = 0.25};
    if (nature.trouble == "race-wrong") {
      race.verdicts.back().status = VerdictStatus::kIncorrectNumerical;
      return race;
    }
    race.speedup = nature.speed;
    race.speedup_low = nature.speed * 0.98;
    race.speedup_high = nature.speed * 1.02;
    race.is_beaten = race.speedup_high < request.rival.speedup_low;
    race.behaviour.relative_error = 1e-4;
    return race;
  }

  Result<Judgement> judge(int device, const Solution& solution, const BuiltCandidate&) override {
    const Busy busy(*this, device);
    ++judgements;
    if (on_judge) on_judge();
    const Nature nature = Nature::of(solution);
    Judgement judged = judgement(nature.speed, nature.trouble != "late-wrong");
    if (nature.trouble == "unpaired") leave_unpaired(judged);
    return judged;
  }

  Result<Judgement> confirm(int device, const Solution& solution, const BuiltCandidate&) override {
    const Busy busy(*this, device);
    ++confirmations;
    const Nature nature = Nature::of(solution);
    return judgement(nature.confirmed > 0.0 ? nature.confirmed : nature.speed,
                     nature.trouble != "never-confirmed");
  }

  std::atomic<int> builds = 0, screenings = 0, races = 0, judgements = 0, confirmations = 0;
  std::function<void()> on_build, on_judge;
  std::vector<Rival> rivals;  // of the races, in the order in which they were run

 private:
  struct Busy {
    Busy(FakeBench& bench, int device) : flag(bench.busy_.at(static_cast<size_t>(device))) {
      EXPECT_FALSE(flag.exchange(true)) << "device " << device << " was asked for two things";
    }
    ~Busy() { flag = false; }
    std::atomic<bool>& flag;
  };
  static Judgement judgement(double speed, bool passed) {
    Judgement judgement;
    judgement.device_s = 1.0;
    judgement.passed = passed;
    judgement.verdicts.resize(2);
    if (!passed) {
      judgement.verdicts[1].status = VerdictStatus::kRuntimeError;
      judgement.verdicts[1].reason = "crash";
      judgement.verdicts[1].message = "a signal";
    }
    for (Verdict& verdict : judgement.verdicts) verdict.speedup = speed;
    judgement.speedup = speed;
    judgement.speedup_low = speed * 0.99;
    judgement.speedup_high = speed * 1.01;
    return judgement;
  }

  static void leave_unpaired(Judgement& judgement) {
    judgement.verdicts[1].workload = "a-large-one";
    judgement.verdicts[1].speedup.reset();
    judgement.verdicts[1].paired_note = "too few rounds";
    judgement.speedup = judgement.speedup_low = judgement.speedup_high = 0.0;
  }

  const int devices_, builders_;
  std::vector<std::atomic<bool>> busy_;
  std::mutex mutex_;
};

class Script : public Proposer {
 public:
  using Act = std::function<Result<ProposalOutcome>(const ProposalRequest&)>;
  Script(std::string name, Act act) : name_(std::move(name)), act_(std::move(act)) {}
  std::string_view name() const override { return name_; }
  bool suits(const Solution&) const override { return true; }
  Result<ProposalOutcome> propose(const ProposalRequest& request) override { return act_(request); }

 private:
  std::string name_;
  Act act_;
};

inline ProposalOutcome outcome_of(Solution solution, std::string note = "a change") {
  ProposalOutcome outcome;
  outcome.solution = std::move(solution);
  outcome.note = std::move(note);
  outcome.cost = {.seconds = 0.5, .prompt_tokens = 60, .answer_tokens = 40, .money = 0.25};
  return outcome;
}

// The parent with another nature.
inline Solution changed(const ProposalRequest& request, const Nature& nature) {
  Solution solution = request.parent.solution;
  solution.sources.front().content = nature.text();
  return solution;
}

// Walks up and down by chance; now and then into trouble, or to what others tried already.
inline std::shared_ptr<Proposer> wanderer(std::string name = "wander") {
  return std::make_shared<Script>(std::move(name), [](const ProposalRequest& request) {
    Nature nature = Nature::of(request.parent.solution);
    nature.code.clear();
    const uint64_t draw = request.seed % 1000;
    nature.speed = std::max(0.25, nature.speed + (static_cast<double>(draw % 7) - 3.0) / 8.0);
    nature.code_bytes = 1000 << (draw / 7 % 3);
    if (draw % 11 == 0) nature.trouble = "broken";
    if (draw % 13 == 0) nature.trouble = "wrong";
    if (draw % 17 == 0) nature.trouble = "late-wrong";
    if (draw % 19 == 0) nature.trouble = "race-wrong";
    if (draw % 5 == 0) nature.code = fmt::format("code-{}", draw % 3);
    return Result<ProposalOutcome>(
        outcome_of(changed(request, nature), fmt::format("draw {}", draw)));
  });
}

class RunFixture : public ::testing::Test {
 protected:
  RunFixture() {
    const auto catalog = Catalog::builtin(FIB_SOURCE_DIR "/signatures/definitions");
    options.signature = catalog->find("rmsnorm_h256").value();
    options.target = "cpu";
    options.architecture = "x86-64";
    options.hardware = options.hardware_key = "a machine";
    options.plan.seeds = {solution_of({})};
    options.budget.candidates = 20;
    options.plan.search.seed = 3;
    open();
  }

  // As a new process would; what the old one held is let go.
  void open(const std::string& file = "fib.db") {
    archive.reset();
    store.reset();
    store = Store::open(folder / file).value();
    archive = RunArchive::open(folder / file).value();
  }

  void propose_with(std::vector<std::shared_ptr<Proposer>> chosen) {
    proposers = std::move(chosen);
    options.plan.search.proposers.clear();
    for (const auto& proposer : proposers) {
      options.plan.search.proposers.emplace_back(proposer->name());
    }
  }
  void propose_with(Script::Act act) {
    propose_with({std::make_shared<Script>("script", std::move(act))});
  }

  Result<RunSummary> try_run() {
    return run_search({*bench, proposers, *archive, *store}, options, hooks);
  }
  RunSummary run() {
    auto summary = try_run();
    if (!summary) throw std::runtime_error(summary.error().to_string());
    return *std::move(summary);
  }
  std::vector<CandidateRecord> records(int64_t run) { return archive->candidates(run).value(); }

  // Everything that must not depend on when anything happened.
  std::vector<std::string> lasting(int64_t run) {
    std::vector<std::string> lines;
    for (const CandidateRecord& record : records(run)) {
      Json json = candidate_to_json(record);
      json.erase("timestamp");
      lines.push_back(dump_json(json));
    }
    return lines;
  }

  ScratchFolder folder;
  std::unique_ptr<Store> store;
  std::unique_ptr<RunArchive> archive;
  std::unique_ptr<FakeBench> bench = std::make_unique<FakeBench>(1, 2);
  std::vector<std::shared_ptr<Proposer>> proposers;
  RunOptions options;
  RunHooks hooks;
};

}  // namespace fib::agents
