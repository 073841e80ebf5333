#include "integrations/package/export/compile_package.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>

#include "harness/thread_pool.h"
#include "integrations/package/export/check_spec.h"
#include "integrations/package/export/cpu_levels.h"

namespace fib {
namespace {

// A solution's compiles, each with a place for what comes of it.
struct Slots {
  Compiled<PlanObject> plan;
  std::vector<Compiled<DeviceCode>> binaries;  // an architecture each
  std::vector<Compiled<CpuObject>> cpu;        // a level each
};

constexpr size_t kShownLines = 5, kShownColumns = 240;

// The first few lines, of those that tell of errors if any do: what a compiler has to say of one
// cause can be hundreds.
std::string shortened(const std::string& log) {
  std::vector<std::string_view> lines, errors;
  for (std::string_view rest = log; !rest.empty();) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    lines.push_back(line);
    if (line.find("error") != std::string_view::npos) errors.push_back(line);
  }
  const auto& told = errors.empty() ? lines : errors;
  const size_t shown = std::min(told.size(), kShownLines);
  std::string text;
  for (size_t i = 0; i < shown; ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : "\n", told[i].substr(0, kShownColumns));
    if (told[i].size() > kShownColumns) text += "...";
  }
  if (shown < lines.size()) text += fmt::format("\n({} more lines)", lines.size() - shown);
  return text;
}

struct Job {
  std::string name;  // "gemm_n512_k128: gemm-dots for x86-64-v3"
  std::function<Result<void>()> run;
};

// Runs the jobs on `threads` threads; `progress` is called on this one. Returns the first error.
Result<void> run_all(const std::vector<Job>& jobs, int threads, const PackageProgress& progress) {
  struct Done {
    size_t job;
    Result<void> result;
  };
  std::mutex mutex;
  std::condition_variable ready;
  std::deque<Done> finished;
  ThreadPool pool(std::clamp(threads, 1, static_cast<int>(std::max<size_t>(1, jobs.size()))));
  for (size_t i = 0; i < jobs.size(); ++i) {
    pool.submit([&, i] {
      Result<void> result = jobs[i].run();
      const std::lock_guard lock(mutex);
      finished.push_back({i, std::move(result)});
      ready.notify_one();
    });
  }
  std::optional<Error> first_error;
  for (size_t done = 1; done <= jobs.size(); ++done) {
    std::unique_lock lock(mutex);
    ready.wait(lock, [&] { return !finished.empty(); });
    Done next = std::move(finished.front());
    finished.pop_front();
    lock.unlock();
    if (!next.result && !first_error) first_error = std::move(next.result).error();
    if (progress) progress(done, jobs.size(), jobs[next.job].name);
  }
  if (first_error) return fail(*std::move(first_error));
  return {};
}

class PackageCompile {
 public:
  PackageCompile(const PackageSpec& spec, const SolutionObjects& objects, DeviceCompiler* device)
      : spec_(spec),
        objects_(objects),
        device_(device),
        levels_(sorted_cpu_levels(spec.cpu_levels)) {
    for (const PackagedSignature& packaged : spec.signatures) {
      slots_.emplace_back(packaged.solutions.size());
      for (size_t i = 0; i < packaged.solutions.size(); ++i) add_jobs(packaged, i);
    }
  }

  const std::vector<Job>& jobs() const { return jobs_; }

  // After the jobs.
  Result<CompiledPackage> collect() {
    result_.spec = spec_;
    result_.spec.cpu_levels = levels_;
    for (size_t s = 0; s < spec_.signatures.size(); ++s) {
      FIB_CHECK(collect(result_.spec.signatures[s], slots_[s]));
    }
    return std::move(result_);
  }

 private:
  void add_jobs(const PackagedSignature& packaged, size_t index) {
    const Solution& solution = packaged.solutions[index];
    const Signature& signature = *packaged.signature;
    Slots& slots = slots_.back()[index];
    const auto add = [&](std::string_view what, std::function<Result<void>()> run) {
      jobs_.push_back(
          {fmt::format("{}: {} for {}", signature.name, solution.name, what), std::move(run)});
    };
    if (solution_target(solution) == "cpu") {
      slots.cpu.resize(levels_.size());
      for (size_t i = 0; i < levels_.size(); ++i) {
        add(levels_[i],
            [this, &solution, &signature, &level = levels_[i],
             &slot = slots.cpu[i]]() -> Result<void> {
              slot = FIB_TRY(objects_.cpu(solution, signature, level));
              return {};
            });
      }
      return;
    }
    if (spec_.cuda_architectures.empty()) return;
    add("planning", [this, &solution, &signature, &slot = slots.plan]() -> Result<void> {
      slot = FIB_TRY(objects_.plan(solution, signature));
      return {};
    });
    slots.binaries.resize(spec_.cuda_architectures.size());
    for (size_t i = 0; i < slots.binaries.size(); ++i) {
      add(spec_.cuda_architectures[i],
          [this, &solution, &signature, &architecture = spec_.cuda_architectures[i],
           &slot = slots.binaries[i]]() -> Result<void> {
            slot = FIB_TRY(device_->compile(solution, signature, architecture));
            return {};
          });
    }
  }

  void note(const PackagedSignature& packaged, size_t index, std::string_view what,
            const std::string& log) {
    result_.notes.push_back(fmt::format("{}: '{}' is left out for {}: {}", packaged.signature->name,
                                        packaged.solutions[index].name, what, shortened(log)));
  }

  CompiledSolution take(const PackagedSignature& packaged, size_t index, Slots& slots) {
    CompiledSolution compiled;
    for (size_t i = 0; i < slots.cpu.size(); ++i) {
      if (slots.cpu[i].made)
        compiled.cpu.push_back(*std::move(slots.cpu[i].made));
      else
        note(packaged, index, levels_[i], slots.cpu[i].failure_log);
    }
    if (!slots.binaries.empty() && !slots.plan.made) {
      note(packaged, index, "cards", slots.plan.failure_log);
      return compiled;
    }
    for (size_t i = 0; i < slots.binaries.size(); ++i) {
      if (slots.binaries[i].made)
        compiled.binaries.push_back(*std::move(slots.binaries[i].made));
      else
        note(packaged, index, spec_.cuda_architectures[i], slots.binaries[i].failure_log);
    }
    if (!compiled.binaries.empty()) compiled.plan = std::move(slots.plan.made);
    return compiled;
  }

  // That a fallback was built for each of `wanted`, which `has(solution, i)` tells.
  template <class Has>
  Result<void> check_fallback(const std::vector<size_t>& fallback,
                              const std::vector<std::string>& wanted,
                              const PackagedSignature& packaged, const Has& has) const {
    if (fallback.empty()) return {};
    for (const std::string& name : wanted) {
      if (std::any_of(fallback.begin(), fallback.end(),
                      [&](size_t index) { return has(index, name); })) {
        continue;
      }
      std::string logs;
      for (const std::string& text : result_.notes) {
        if (text.starts_with(packaged.signature->name + ":")) logs += "\n" + text;
      }
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("no solution that takes any shape builds for {}:{}", name, logs),
                  packaged.signature->name,
                  "leave out the signature or what it doesn't build for, or repair the solution");
    }
    return {};
  }

  Result<void> collect(PackagedSignature& packaged, std::vector<Slots>& slots) {
    std::vector<CompiledSolution> compiled;
    for (size_t i = 0; i < slots.size(); ++i) compiled.push_back(take(packaged, i, slots[i]));
    FIB_CHECK(check_fallback(
        packaged.cpu_fallback, levels_, packaged, [&](size_t index, const std::string& level) {
          const auto& cpu = compiled[index].cpu;
          return std::any_of(cpu.begin(), cpu.end(),
                             [&](const CpuObject& o) { return o.level == level; });
        }));
    FIB_CHECK(check_fallback(packaged.cuda_fallback, spec_.cuda_architectures, packaged,
                             [&](size_t index, const std::string& architecture) {
                               const auto& code = compiled[index].binaries;
                               return std::any_of(code.begin(), code.end(),
                                                  [&](const DeviceCode& c) {
                                                    return c.architecture == architecture;
                                                  });
                             }));
    drop_unbuilt(packaged, compiled);
    result_.solutions.push_back(std::move(compiled));
    return {};
  }

  // Solutions without any code go, and what pointed to them; the others close up.
  static void drop_unbuilt(PackagedSignature& packaged, std::vector<CompiledSolution>& compiled) {
    constexpr size_t kGone = std::numeric_limits<size_t>::max();
    std::vector<size_t> place(compiled.size(), kGone);
    std::vector<Solution> solutions;
    std::vector<CompiledSolution> built;
    for (size_t i = 0; i < compiled.size(); ++i) {
      if (compiled[i].binaries.empty() && compiled[i].cpu.empty()) continue;
      place[i] = built.size();
      solutions.push_back(std::move(packaged.solutions[i]));
      built.push_back(std::move(compiled[i]));
    }
    packaged.solutions = std::move(solutions);
    compiled = std::move(built);
    for (std::vector<size_t>* fallback : {&packaged.cuda_fallback, &packaged.cpu_fallback}) {
      std::erase_if(*fallback, [&](size_t index) { return place[index] == kGone; });
      for (size_t& index : *fallback) index = place[index];
    }
    for (HardwareChoices& choices : packaged.hardware) {
      std::erase_if(choices.buckets,
                    [&](const BucketChoice& bucket) { return place[bucket.solution] == kGone; });
      for (BucketChoice& bucket : choices.buckets) bucket.solution = place[bucket.solution];
    }
    std::erase_if(packaged.hardware,
                  [](const HardwareChoices& choices) { return choices.buckets.empty(); });
  }

  const PackageSpec& spec_;
  const SolutionObjects& objects_;
  DeviceCompiler* device_;  // null where no architecture is asked for
  const std::vector<std::string> levels_;
  std::deque<std::vector<Slots>> slots_;  // a signature each; jobs refer to them
  std::vector<Job> jobs_;
  CompiledPackage result_;
};

}  // namespace

Result<CompiledPackage> compile_package(const PackageSpec& spec, const SolutionObjects& objects,
                                        const PackageBuildOptions& options,
                                        const PackageProgress& progress) {
  std::unique_ptr<DeviceCompiler> device;
  if (!spec.cuda_architectures.empty()) device = FIB_TRY(open_device_compiler(options));
  PackageCompile compile(spec, objects, device.get());
  FIB_CHECK(run_all(compile.jobs(), options.threads, progress));
  CompiledPackage package = FIB_TRY(compile.collect());
  package.toolchain["compiler"] = objects.toolchain().version;
  if (device) package.toolchain["nvrtc"] = device->version();
  return package;
}

}  // namespace fib
