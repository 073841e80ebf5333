#include "runners/cpu/contender.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "harness/thread_pool.h"

namespace fib {
namespace {

constexpr size_t kMaxSlots = 64;
constexpr size_t kSlotBytes = 256 << 20;  // for more than one slot
constexpr int kProbesPerOutput = 16;
constexpr int64_t kParallelCompare = 1 << 20;  // elements from which threads pay

Tolerance tolerance_of(const Problem& problem, size_t output) {
  const auto& tolerances = problem.signature->fib.tolerances;
  const auto found = tolerances.find(problem.outputs[output].name);
  return found == tolerances.end() ? Tolerance{} : found->second;
}

}  // namespace

Contender::Contender(WorkerLink& link, const ContenderRequest& request, ContenderOutcome& outcome)
    : link_(link),
      request_(request),
      outcome_(outcome),
      random_(request.seed),
      guard_(random_),
      hash_seed_(random_()),
      workspace_poison_(DType::kFloat32, random_),
      verified_(request.images.sets(),
                std::vector<std::unordered_set<uint64_t>>(request.problem.outputs.size())) {
  for (const TensorDesc& output : request.problem.outputs)
    output_poison_.emplace_back(output.dtype, random_);
  outcome_.checks.resize(request.problem.outputs.size());
  outcome_.worst_honest_ratio.resize(request.problem.outputs.size());
  outcome_.draws.resize(request.problem.outputs.size());
}

Attempt<std::unique_ptr<Contender>> Contender::open(WorkerLink& link,
                                                    const ContenderRequest& request,
                                                    ContenderOutcome& outcome) {
  std::unique_ptr<Contender> contender(new Contender(link, request, outcome));
  const auto needs = FIB_TRY(link.pose(request.problem, request.images.set(0)));
  outcome.workspace_bytes = needs.workspace_bytes;
  outcome.prepared_bytes = needs.prepared_bytes;
  FIB_CHECK(contender->lay_out(needs));
  FIB_CHECK(link.map(*contender->arena_));
  return contender;
}

Attempt<void> Contender::lay_out(const WorkerLink::Needs& needs) {
  const Problem& problem = request_.problem;
  const size_t budget = request_.arena_budget_bytes;
  if (needs.workspace_bytes > budget || needs.prepared_bytes > budget) {
    return fault(FaultKind::kPlanTooMuch,
                 fmt::format("asks for {} bytes of workspace and {} of prepared weights; there are "
                             "{} for everything",
                             needs.workspace_bytes, needs.prepared_bytes, budget));
  }
  std::vector<BufferSpec> own, shared;
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    const TensorDesc& input = problem.inputs[i];
    const bool is_shared = InputImages::is_shared(input);
    auto& buffers = is_shared ? shared : own;
    input_places_.push_back({is_shared, buffers.size()});
    if (input.is_host_scalar) continue;
    if (is_shared) shared_inputs_.push_back(i);
    buffers.push_back({fmt::format("input '{}'", input.name), input.size_bytes()});
  }
  for (const TensorDesc& output : problem.outputs) {
    output_indices_.push_back(own.size());
    own.push_back({fmt::format("output '{}'", output.name), output.size_bytes()});
  }
  if (needs.workspace_bytes > 0) {
    workspace_index_ = own.size();
    own.push_back({"the workspace", needs.workspace_bytes});
  }
  if (needs.prepared_bytes > 0) {
    prepared_index_ = shared.size();
    shared.push_back({"the prepared weights", needs.prepared_bytes});
  }

  const size_t slot_bytes = Cell::bytes_for(own);
  const size_t shared_bytes = shared.empty() ? 0 : Cell::bytes_for(shared);
  if (kControlBytes + shared_bytes + slot_bytes > budget) {
    return fail(Error{ErrorCode::kResourceExhausted,
                      fmt::format("one call needs {} bytes of memory; the budget is {}",
                                  kControlBytes + shared_bytes + slot_bytes, budget),
                      problem.label(), "raise the arena budget or take a smaller workload"});
  }
  const size_t room = budget - kControlBytes - slot_bytes;  // beside one slot
  const size_t shared_count =
      shared.empty() ? 0 : std::min(request_.images.sets(), room / shared_bytes);
  const size_t slot_room = std::min(kSlotBytes, room - shared_count * shared_bytes);
  const size_t slot_count = std::min(kMaxSlots, 1 + slot_room / slot_bytes);

  const size_t total = kControlBytes + shared_count * shared_bytes + slot_count * slot_bytes;
  arena_ = FIB_TRY(SharedMemory::create(total, "fib-arena"));
  size_t at = kControlBytes;
  for (size_t i = 0; i < shared_count; ++i, at += shared_bytes)
    shared_cells_.emplace_back(arena_->bytes(), at, shared);
  for (size_t i = 0; i < slot_count; ++i, at += slot_bytes)
    slots_.emplace_back(arena_->bytes(), at, own);
  residents_.resize(shared_count);
  shared_hashes_.resize(shared_count);
  return {};
}

Attempt<void> Contender::load(size_t set) {
  if (shared_cells_.empty()) return {};
  const size_t index = set % shared_cells_.size();
  if (residents_[index] == set) return {};
  Cell& cell = shared_cells_[index];
  cell.place(guard_, random_);
  residents_[index] = set;
  shared_hashes_[index].clear();
  for (size_t buffer = 0; buffer < shared_inputs_.size(); ++buffer) {
    request_.images.write(set, shared_inputs_[buffer], cell.buffer(buffer));
    shared_hashes_[index].push_back(content_hash(cell.buffer(buffer), hash_seed_));
  }
  if (!prepared_index_) return {};
  workspace_poison_.fill(cell.buffer(*prepared_index_), random_);
  furnish(slots_[0], set);  // small weights lie beside the other inputs
  CallPlaces weights = places(&slots_[0], set);
  for (size_t i = 0; i < weights.inputs.size(); ++i) {
    if (!request_.problem.inputs[i].is_weight) weights.inputs[i] = -1;
  }
  std::fill(weights.outputs.begin(), weights.outputs.end(), -1);
  weights.workspace = -1;
  const double prepare_ns = FIB_TRY(link_.prepare(weights));
  outcome_.prepare_ns = outcome_.prepare_ns > 0 ? std::min(outcome_.prepare_ns, prepare_ns)
                                                : prepare_ns;
  return check_shared();
}

void Contender::furnish(Cell& slot, size_t set) {
  slot.place(guard_, random_);
  for (size_t i = 0; i < input_places_.size(); ++i) {
    if (request_.problem.inputs[i].is_host_scalar || input_places_[i].is_shared) continue;
    const auto image = request_.images.image(set, i);
    std::copy(image.begin(), image.end(), slot.buffer(input_places_[i].index).begin());
  }
  for (size_t i = 0; i < output_indices_.size(); ++i) {
    const auto output = slot.buffer(output_indices_[i]);
    if (const auto input = request_.problem.outputs[i].in_place_of) {
      const auto values = input_values(slot, set, *input);
      std::copy(values.begin(), values.end(), output.begin());
    } else {
      output_poison_[i].fill(output, random_);
    }
  }
  if (workspace_index_) workspace_poison_.fill(slot.buffer(*workspace_index_), random_);
}

std::span<const std::byte> Contender::input_values(const Cell& slot, size_t set,
                                                   size_t input) const {
  const Place place = input_places_[input];
  const Cell& cell = place.is_shared ? shared_cells_[set % shared_cells_.size()] : slot;
  return cell.buffer(place.index);
}

CallPlaces Contender::places(const Cell* slot, size_t set) const {
  const Cell* shared =
      shared_cells_.empty() ? nullptr : &shared_cells_[set % shared_cells_.size()];
  CallPlaces places;
  for (size_t i = 0; i < input_places_.size(); ++i) {
    const bool has_data = !request_.problem.inputs[i].is_host_scalar;
    const Cell* cell = input_places_[i].is_shared ? shared : slot;
    places.inputs.push_back(
        has_data ? static_cast<int64_t>(cell->offset(input_places_[i].index)) : -1);
  }
  for (const size_t index : output_indices_)
    places.outputs.push_back(static_cast<int64_t>(slot->offset(index)));
  if (workspace_index_) places.workspace = static_cast<int64_t>(slot->offset(*workspace_index_));
  if (prepared_index_) places.prepared = static_cast<int64_t>(shared->offset(*prepared_index_));
  return places;
}

Attempt<BatchTime> Contender::run(size_t set, size_t calls, CacheState caches) {
  std::vector<size_t> order(slots_.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), random_);
  order.resize(calls);
  std::vector<CallPlaces> batch;
  for (const size_t index : order) {
    furnish(slots_[index], set);
    batch.push_back(places(&slots_[index], set));
  }
  if (caches == CacheState::kCold) {
    for (const size_t index : order) evict(slots_[index], set);
  }
  probes_.clear();
  const auto probe_all = [&] {
    for (auto index = order.rbegin(); index != order.rend(); ++index) probe(slots_[*index]);
  };
  const BatchTime time = FIB_TRY(link_.run_batch(batch, probe_all));
  for (const size_t index : order) FIB_CHECK(inspect(slots_[index], set));
  FIB_CHECK(check_probes());
  return time;
}

void Contender::evict(const Cell& slot, size_t set) const {
  for (const size_t index : output_indices_) evict_from_caches(slot.buffer(index));
  if (workspace_index_) evict_from_caches(slot.buffer(*workspace_index_));
  const Cell* shared =
      shared_cells_.empty() ? nullptr : &shared_cells_[set % shared_cells_.size()];
  for (size_t i = 0; i < input_places_.size(); ++i) {
    if (request_.problem.inputs[i].is_host_scalar) continue;
    const Cell* cell = input_places_[i].is_shared ? shared : &slot;
    evict_from_caches(cell->buffer(input_places_[i].index));
  }
  if (prepared_index_) evict_from_caches(shared->buffer(*prepared_index_));
}

void Contender::probe(const Cell& slot) {
  for (size_t i = 0; i < output_indices_.size(); ++i) {
    const auto output = slot.buffer(output_indices_[i]);
    for (int n = 0; n < kProbesPerOutput && !output.empty(); ++n) {
      const std::byte* place = output.data() + random_() % output.size();
      probes_.push_back({place, i, *place});
    }
  }
}

Attempt<void> Contender::check_probes() const {
  for (const Probe& probe : probes_) {
    if (*probe.place == probe.value) continue;
    return fault(FaultKind::kUnstableOutput,
                 fmt::format("output '{}' was still being written after fib_run had returned",
                             request_.problem.outputs[probe.output].name));
  }
  return {};
}

Attempt<void> Contender::inspect(const Cell& slot, size_t set) {
  if (auto damage = slot.damage(guard_)) return fault(FaultKind::kOutOfBounds, *damage);
  if (!shared_cells_.empty()) {
    const Cell& shared = shared_cells_[set % shared_cells_.size()];
    if (auto damage = shared.damage(guard_)) return fault(FaultKind::kOutOfBounds, *damage);
  }
  for (size_t i = 0; i < input_places_.size(); ++i) {
    const TensorDesc& input = request_.problem.inputs[i];
    if (input.is_host_scalar || input_places_[i].is_shared) continue;
    const auto image = request_.images.image(set, i);
    const auto buffer = slot.buffer(input_places_[i].index);
    if (std::memcmp(image.data(), buffer.data(), image.size()) != 0)
      return fault(FaultKind::kInputModified, fmt::format("input '{}' was changed", input.name));
  }
  for (size_t i = 0; i < output_indices_.size(); ++i) {
    const auto values = slot.buffer(output_indices_[i]);
    const uint64_t hash = content_hash(values, hash_seed_);
    if (verified_[set][i].contains(hash)) continue;
    if (FIB_TRY(is_within(i, values, set))) {
      verified_[set][i].insert(hash);
    } else {
      is_right_ = false;
    }
  }
  ++outcome_.calls_checked;
  return {};
}

Result<bool> Contender::is_within(size_t output, std::span<const std::byte> values, size_t set) {
  const Tolerance tolerance = tolerance_of(request_.problem, output);
  if (tolerance.rule == Tolerance::Rule::kDistribution) return are_possible(output, values, set);
  const ExpectedOutput& expected = request_.expected[set]->outputs[output];
  const TensorDesc& desc = request_.problem.outputs[output];
  const int threads = desc.num_elements() < kParallelCompare ? 1 : request_.compare_threads;
  const ErrorStats stats = compare_output(desc.dtype, values, expected.exact,
                                          tolerance.max_error_rms, parallel_on(threads));
  const double ratio = honest_ratio(stats, expected.honest, desc.dtype);
  outcome_.checks[output].merge(stats);
  outcome_.worst_honest_ratio[output] = std::max(outcome_.worst_honest_ratio[output], ratio);
  return stats.nonfinite_mismatches == 0 && stats.elements_over_bound == 0 &&
         ratio <= tolerance.honest_factor;
}

Result<bool> Contender::are_possible(size_t output, std::span<const std::byte> values,
                                     size_t set) {
  const DrawCheck check = FIB_TRY(check_draws({.problem = request_.problem,
                                               .inputs = request_.images.set(set),
                                               .output = output,
                                               .values = values,
                                               .seed = request_.seed,
                                               .threads = request_.compare_threads}));
  outcome_.checks[output].merge(check.stats);
  outcome_.draws[output].add(check, verified_[set][output].size());
  return check.stats.elements_over_bound == 0;
}

Attempt<void> Contender::check_shared() const {
  for (size_t cell = 0; cell < shared_cells_.size(); ++cell) {
    if (!residents_[cell]) continue;
    for (size_t buffer = 0; buffer < shared_inputs_.size(); ++buffer) {
      if (content_hash(shared_cells_[cell].buffer(buffer), hash_seed_) ==
          shared_hashes_[cell][buffer]) {
        continue;
      }
      return fault(FaultKind::kInputModified,
                   fmt::format("input '{}' was changed",
                               request_.problem.inputs[shared_inputs_[buffer]].name));
    }
  }
  return {};
}

}  // namespace fib
