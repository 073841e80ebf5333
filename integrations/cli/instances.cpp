#include "integrations/cli/instances.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "integrations/cli/text.h"
#include "integrations/cli/units.h"

namespace fib {

namespace {

// The rest is for workspaces, prepared weights and what empties the caches.
constexpr double kUsableMemory = 0.8;

bool is_small(const SignaturePtr& signature) {
  return std::ranges::find(signature->tags, kSmallTag) != signature->tags.end();
}

double memory_bytes(std::span<const DeviceInfo> devices) {
  size_t smallest = SIZE_MAX;
  for (const DeviceInfo& device : devices) smallest = std::min(smallest, device.memory_bytes);
  return static_cast<double>(smallest);
}

}  // namespace

std::vector<SignaturePtr> default_instances(const Solution& solution, const Runner& runner,
                                            const std::vector<SignaturePtr>& fitting) {
  const bool names_its_signature = std::ranges::any_of(fitting, [&](const SignaturePtr& signature) {
    return signature->name == solution.definition;
  });
  if (names_its_signature || !runner.measures_on_host()) return fitting;
  std::vector<SignaturePtr> small;
  std::ranges::copy_if(fitting, std::back_inserter(small), is_small);
  return small.empty() ? fitting : small;
}

std::string instances_note(const Solution& solution, const std::vector<SignaturePtr>& chosen,
                           std::string_view option) {
  std::string names;
  for (const SignaturePtr& signature : chosen) {
    names += (names.empty() ? "" : ", ") + signature->name;
  }
  return fmt::format("{}: judged on its small instance{} {}; {} NAME or --all-instances for others",
                     solution.definition, chosen.size() == 1 ? "" : "s", names, option);
}

double needed_bytes(const Problem& problem, int value_sets) {
  double bytes = 0.0;
  for (const TensorDesc& input : problem.inputs) bytes += static_cast<double>(input.size_bytes());
  for (const TensorDesc& output : problem.outputs) {
    bytes += static_cast<double>(output.size_bytes()) * (1 + value_sets);
  }
  return bytes;
}

std::set<std::string> drop_too_large(std::span<const DeviceInfo> devices, int value_sets,
                                     std::vector<EvaluationJob>& jobs) {
  const double usable = kUsableMemory * memory_bytes(devices);
  std::set<std::string> notes;
  for (EvaluationJob& job : jobs) {
    std::map<std::string, std::pair<size_t, double>> dropped;  // by signature: count, most bytes
    std::erase_if(job.problems, [&](const Problem& problem) {
      const double needed = needed_bytes(problem, value_sets);
      if (needed <= usable) return false;
      auto& [count, most] = dropped[problem.signature->name];
      ++count;
      most = std::max(most, needed);
      return true;
    });
    for (const auto& [signature, loss] : dropped) {
      notes.insert(fmt::format(
          "{}: {} left out, needing up to {} where {} can be used; --signature {} tries anyway",
          signature, counted(loss.first, "workload"), format_bytes(loss.second),
          format_bytes(usable), signature));
    }
  }
  std::erase_if(jobs, [](const EvaluationJob& job) { return job.problems.empty(); });
  return notes;
}

}  // namespace fib
