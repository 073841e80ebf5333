#pragma once

// One candidate on one problem: its worker, its arena, its calls. Every call, timed or not, goes
// through run(): fresh places, poisoned outputs (those in place of an input get its content), and
// afterwards guards, inputs and outputs checked.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_set>
#include <vector>

#include "runners/cpu/arena.h"
#include "runners/cpu/input_images.h"
#include "runners/cpu/worker_link.h"

namespace fib {

// As the candidate meets its operands.
enum class CacheState {
  kCold,  // flushed from all caches
  kWarm,  // as the parent's writes left them: in the shared cache
};

struct ContenderRequest {
  const Problem& problem;
  const InputImages& images;
  const std::vector<ExpectedPtr>& expected;  // by value set
  size_t arena_budget_bytes = 0;
  int compare_threads = 1;
  uint64_t seed = 0;
};

class Contender {
 public:
  // The problem is posed, the arena made.
  static Attempt<std::unique_ptr<Contender>> open(WorkerLink& link,
                                                  const ContenderRequest& request,
                                                  ContenderOutcome& outcome);

  // Makes the value set resident, pushing out the oldest one if there is no room for all.
  Attempt<void> load(size_t set);
  size_t resident_sets() const {
    return shared_cells_.empty() ? request_.images.sets() : shared_cells_.size();
  }
  size_t max_calls() const { return slots_.size(); }

  // Runs and checks `calls` calls on a resident set. 0 calls: an empty batch.
  Attempt<BatchTime> run(size_t set, size_t calls, CacheState caches);

  // The large inputs are as they were. Slow where they are many gigabytes.
  Attempt<void> check_shared() const;

  // False once an output was outside the signature's tolerance: timing it is of no use.
  bool is_right() const { return is_right_; }

 private:
  Contender(WorkerLink& link, const ContenderRequest& request, ContenderOutcome& outcome);

  // Where a buffer of a call lies.
  struct Place {
    bool is_shared = false;
    size_t index = 0;  // in the slot's cell or in the shared cell
  };

  Attempt<void> lay_out(const WorkerLink::Needs& needs);
  void furnish(Cell& slot, size_t set);
  // As they lie in the arena; the set is resident.
  std::span<const std::byte> input_values(const Cell& slot, size_t set, size_t input) const;
  CallPlaces places(const Cell* slot, size_t set) const;
  Attempt<void> inspect(const Cell& slot, size_t set);
  // Of the signature's tolerance; of draws, that they are possible.
  Result<bool> is_within(size_t output, std::span<const std::byte> values, size_t set);
  Result<bool> are_possible(size_t output, std::span<const std::byte> values, size_t set);
  void evict(const Cell& slot, size_t set) const;
  // A few words of each output, to see later whether it was finished when fib_run returned.
  void probe(const Cell& slot);
  Attempt<void> check_probes() const;

  WorkerLink& link_;
  ContenderRequest request_;
  ContenderOutcome& outcome_;
  Random random_;
  GuardPattern guard_;
  uint64_t hash_seed_;
  std::vector<Poison> output_poison_;
  Poison workspace_poison_;

  std::optional<SharedMemory> arena_;
  std::vector<Cell> slots_;
  std::vector<Cell> shared_cells_;               // by value set, modulo their number
  std::vector<std::optional<size_t>> residents_; // by shared cell
  std::vector<std::vector<uint64_t>> shared_hashes_;  // by shared cell and input
  std::vector<Place> input_places_;              // by input; host scalars have none
  std::vector<size_t> shared_inputs_;            // by buffer of the shared cell
  std::vector<size_t> output_indices_;           // in the slot's cell
  std::optional<size_t> workspace_index_;        // in the slot's cell
  std::optional<size_t> prepared_index_;         // in the shared cell

  std::vector<std::vector<std::unordered_set<uint64_t>>> verified_;  // by set and output: hashes
  struct Probe {
    const std::byte* place = nullptr;
    size_t output = 0;
    std::byte value{};
  };
  std::vector<Probe> probes_;
  bool is_right_ = true;
};

}  // namespace fib
