#include "integrations/package/runtime/op.h"

#include <fmt/format.h>

#include <atomic>
#include <cmath>

#include "integrations/package/runtime/struct_size.h"

namespace fib::package {
namespace {

uint64_t next_op_id() {
  static std::atomic<uint64_t> next{0};
  return next.fetch_add(1, std::memory_order_relaxed);
}

bool is_aligned(const void* address) {
  return reinterpret_cast<uintptr_t>(address) % kMemoryAlignment == 0;
}

}  // namespace

Op::Op(OpShape shape, Target& target, std::weak_ptr<const void> device)
    : id_(next_op_id()),
      shape_(std::move(shape)),
      target_(target),
      device_(std::move(device)),
      key_(shape_, target),
      place_(target.place()) {
  for (size_t i = 0; i < shape_.inputs().size(); ++i) {
    if (shape_.inputs()[i].is_weight) weights_.push_back(static_cast<uint32_t>(i));
    if (shape_.inputs()[i].is_host_scalar) scalars_.push_back(static_cast<uint32_t>(i));
  }
}

Result<std::unique_ptr<fib_kernels_op>> Op::open(const SignatureRow& row, Target& target,
                                                 std::weak_ptr<const void> device) {
  OpShape shape = FIB_TRY(OpShape::of(row));
  auto op = std::make_unique<fib_kernels_op>(std::move(shape), target, std::move(device));
  op->solutions_ = FIB_TRY(OpSolutions::load(op->shape_, target));
  return op;
}

OpPlans& Op::plans() const {
  OpPlans* const known = find_op_plans(id_);
  return known != nullptr ? *known : add_op_plans(id_, device_);
}

fib_kernels_status Op::refuse_null(const char* member) const {
  return refuse(FIB_KERNELS_INVALID_ARGUMENT, "{}: call.{} is NULL", shape_.name(), member);
}

fib_kernels_status Op::check_arrays(const fib_kernels_raw_call& call) const {
  if (!shape_.inputs().empty() && call.inputs == nullptr) return refuse_null("inputs");
  if (!shape_.outputs().empty() && call.outputs == nullptr) return refuse_null("outputs");
  return FIB_KERNELS_OK;
}

fib_kernels_status Op::check_values(const fib_kernels_raw_call& call) const {
  if (shape_.num_varying() > 0 && call.axes == nullptr) return refuse_null("axes");
  if (!scalars_.empty() && call.scalars == nullptr) return refuse_null("scalars");
  int64_t signs = 0;
  for (size_t i = 0; i < shape_.num_varying(); ++i) signs |= call.axes[i];
  if (signs < 0) return refuse(shape_.check_axes(call.axes).error(), Stage::kCalling);
  return FIB_KERNELS_OK;
}

fib_kernels_status Op::launch(const fib_kernels_call& call) const {
  SolvedCall solved;
  const fib_kernels_status status = shape_.solve(call, place_, Look::kEverything, solved);
  return status == FIB_KERNELS_OK ? launch(solved.raw) : status;
}

fib_kernels_status Op::launch(const fib_kernels_raw_call& call) const {
  const Lookup found = look_up(call);
  if (found.status == FIB_KERNELS_OK) [[likely]] {
    if (const auto status = check_arrays(call); status != FIB_KERNELS_OK) return status;
  }
  if (found.ready != nullptr) [[likely]]
    return run(call, *found.ready);
  return found.status == FIB_KERNELS_OK ? launch_new(call, found.hash) : found.status;
}

fib_kernels_status Op::launch_new(const fib_kernels_raw_call& call, uint64_t hash) const {
  CachedCall spare;
  CachedCall* planned = nullptr;
  const auto status = plan_new(call, hash, spare, &planned);
  return status == FIB_KERNELS_OK ? run(call, *planned) : status;
}

fib_kernels_status Op::workspace_bytes(const fib_kernels_call& call, size_t* bytes) const {
  SolvedCall solved;
  const fib_kernels_status status = shape_.solve(call, place_, Look::kShapes, solved);
  return status == FIB_KERNELS_OK ? workspace_bytes(solved.raw, bytes) : status;
}

fib_kernels_status Op::workspace_bytes(const fib_kernels_raw_call& call, size_t* bytes) const {
  CachedCall spare;
  CachedCall* planned = nullptr;
  const auto status = find_plan(call, spare, &planned);
  if (status == FIB_KERNELS_OK) *bytes = planned->workspace_bytes;
  return status;
}

fib_kernels_status Op::find_plan(const fib_kernels_raw_call& call, CachedCall& spare,
                                 CachedCall** planned) const {
  const Lookup found = look_up(call);
  *planned = found.ready;
  if (found.status != FIB_KERNELS_OK || found.ready != nullptr) return found.status;
  return plan_new(call, found.hash, spare, planned);
}

Op::Lookup Op::look_up(const fib_kernels_raw_call& call) const {
  if (const auto status = check_size(call, "call"); status != FIB_KERNELS_OK) return {status};
  if (const auto status = check_values(call); status != FIB_KERNELS_OK) return {status};
  Lookup found{.hash = key_.hash(call)};
  CachedCall* const known = plans().cache.find(found.hash, key_, call);
  if (known != nullptr && !known->is_running) [[likely]]
    found.ready = known;
  return found;
}

fib_kernels_status Op::plan_new(const fib_kernels_raw_call& call, uint64_t hash, CachedCall& spare,
                                CachedCall** planned) const {
  if (const auto status = plan(call, 0, spare); status != FIB_KERNELS_OK) return status;
  spare.key = key_.bytes(call);
  // One that is running has its place in the cache already.
  PlanCache& cache = plans().cache;
  const bool is_kept = cache.find(hash, key_, call) != nullptr;
  CachedCall* const kept = is_kept ? nullptr : cache.insert(hash, std::move(spare));
  *planned = kept != nullptr ? kept : &spare;
  return FIB_KERNELS_OK;
}

fib_kernels_status Op::check_scalars(const fib_kernels_raw_call& call) const {
  for (const uint32_t input : scalars_) {
    if (std::isfinite(call.scalars[input])) continue;
    return refuse(FIB_KERNELS_INVALID_ARGUMENT, "{}: input '{}' is {}", shape_.name(),
                  shape_.inputs()[input].info->name, call.scalars[input]);
  }
  return FIB_KERNELS_OK;
}

fib_kernels_status Op::plan(const fib_kernels_raw_call& call, size_t first,
                            CachedCall& planned) const {
  if (auto checked = shape_.check_axes(call.axes); !checked) {
    return refuse(checked.error(), Stage::kCalling);
  }
  if (const auto status = check_scalars(call); status != FIB_KERNELS_OK) return status;
  const std::vector<int64_t> axes = shape_.all_axes(call.axes);
  const CallFacts facts{axes, call.scalars, call.host_inputs};
  const auto candidates = solutions_.candidates({call.axes, shape_.num_varying()});
  std::string reasons;
  bool lacks_prepared = false;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const Candidate& candidate = candidates[i];
    const auto pass_over = [&](std::string_view reason) {
      reasons += fmt::format("{}'{}': {}", reasons.empty() ? "" : "; ",
                             candidate.solution->row().name, reason);
    };
    if (i < first) {
      pass_over("refused the call when it ran");
      continue;
    }
    auto call_plan = candidate.solution->plan(facts);
    if (!call_plan) {
      if (call_plan.error().code != ErrorCode::kUnsupported) {
        return refuse(call_plan.error(), Stage::kCalling);
      }
      pass_over(call_plan.error().to_string());
      continue;
    }
    const size_t prepared_bytes = (*call_plan)->prepared_bytes;
    PreparedLayout::Part part;
    size_t total = 0;
    if (prepared_bytes > 0) {
      if (call.prepared == nullptr) {
        lacks_prepared = true;
        pass_over("it wants prepared weights, call.prepared is NULL");
        continue;
      }
      const auto layout = prepared_layout(shape_.weight_axes(call.axes));
      if (!layout) return refuse(layout.error(), Stage::kCalling);
      part = (*layout)->parts[candidate.index];
      total = (*layout)->bytes;
      if (part.bytes != prepared_bytes) {
        pass_over(fmt::format("it wants {} bytes of prepared weights, {} were prepared",
                              prepared_bytes, part.bytes));
        continue;
      }
    }
    planned.workspace_bytes = (*call_plan)->workspace_bytes;
    planned.planned = *std::move(call_plan);
    planned.candidate = i;
    planned.wants_prepared |= lacks_prepared;
    planned.prepared_offset = part.offset;
    planned.prepared_total = total;
    // Those that come after it may have to stand in for it.
    for (size_t next = i + 1; target_.refuses_at_run() && next < candidates.size(); ++next) {
      if (const auto other = candidates[next].solution->plan(facts)) {
        planned.workspace_bytes = std::max(planned.workspace_bytes, (*other)->workspace_bytes);
      }
    }
    return FIB_KERNELS_OK;
  }
  if (lacks_prepared) {
    return refuse(FIB_KERNELS_NOT_PREPARED,
                  "{}: no kernel takes the call: {} (call "
                  "fib_kernels_prepare once for each set of weights)",
                  shape_.name(), reasons);
  }
  return refuse_all(call, reasons);
}

fib_kernels_status Op::refuse_all(const fib_kernels_raw_call& call,
                                  const std::string& reasons) const {
  std::string axes;
  const fib_kernels_signature_info& info = row().info;
  size_t next = 0;
  for (int32_t i = 0; i < info.num_axes; ++i) {
    if (info.axes[i].value >= 0) continue;
    axes += fmt::format("{}{}={}", axes.empty() ? "" : ", ", info.axes[i].name, call.axes[next++]);
  }
  return refuse(FIB_KERNELS_UNSUPPORTED, "{}: no kernel takes {}: {}", shape_.name(), axes,
                reasons.empty() ? "none of the package's runs here" : reasons);
}

fib_kernels_status Op::check_memory(const fib_kernels_raw_call& call,
                                    const CachedCall& cached) const {
  const PlannedCall& planned = *cached.planned;
  bool is_right =
      cached.workspace_bytes == 0 || (call.workspace_bytes >= cached.workspace_bytes &&
                                      call.workspace != nullptr && is_aligned(call.workspace));
  is_right &= planned.prepared_bytes == 0 ||
              (call.prepared_bytes >= cached.prepared_total && is_aligned(call.prepared));
  for (const uint32_t weight : weights_) {
    is_right &= call.inputs[weight] != nullptr || (planned.reads >> weight & 1) == 0;
  }
  if (is_right) [[likely]]
    return FIB_KERNELS_OK;
  return explain_memory(call, cached);
}

fib_kernels_status Op::explain_memory(const fib_kernels_raw_call& call,
                                      const CachedCall& cached) const {
  const PlannedCall& planned = *cached.planned;
  if (cached.workspace_bytes > call.workspace_bytes) {
    return refuse(FIB_KERNELS_WORKSPACE_TOO_SMALL, "{}: {} bytes of workspace given, {} are needed",
                  shape_.name(), call.workspace_bytes, cached.workspace_bytes);
  }
  if (cached.workspace_bytes > 0 && (call.workspace == nullptr || !is_aligned(call.workspace))) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT,
                  "{}: call.workspace is NULL or no multiple of {} bytes", shape_.name(),
                  kMemoryAlignment);
  }
  if (planned.prepared_bytes > 0 && cached.prepared_total > call.prepared_bytes) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT,
                  "{}: {} bytes of prepared weights given, fib_kernels_prepare writes {}",
                  shape_.name(), call.prepared_bytes, cached.prepared_total);
  }
  if (planned.prepared_bytes > 0 && !is_aligned(call.prepared)) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT, "{}: call.prepared is no multiple of {} bytes",
                  shape_.name(), kMemoryAlignment);
  }
  const std::vector<int64_t> axes = shape_.all_axes(call.axes);
  for (const uint32_t weight : weights_) {
    const OpShape::Tensor& tensor = shape_.inputs()[weight];
    if (call.inputs[weight] != nullptr || (planned.reads >> weight & 1) == 0) continue;
    if (shape_.bytes_of(tensor, axes) == 0) continue;
    return refuse(FIB_KERNELS_INVALID_ARGUMENT,
                  "{}: input '{}' has no data; its kernel reads it besides prepared weights",
                  shape_.name(), tensor.info->name);
  }
  return FIB_KERNELS_OK;
}

fib_kernels_status Op::run(const fib_kernels_raw_call& call, CachedCall& cached) const {
  for (;;) {
    if (const auto status = check_memory(call, cached); status != FIB_KERNELS_OK) return status;
    void* const prepared =
        cached.planned->prepared_bytes == 0
            ? nullptr
            : const_cast<std::byte*>(static_cast<const std::byte*>(call.prepared)) +
                  cached.prepared_offset;
    cached.is_running = true;
    const fib_kernels_status status = cached.planned->run(call, prepared);
    cached.is_running = false;
    if (status != FIB_KERNELS_UNSUPPORTED) [[likely]]
      return status;
    // The next one takes its place for good, so that it isn't asked again.
    const auto planned = plan(call, cached.candidate + 1, cached);
    if (planned != FIB_KERNELS_OK) return planned;
  }
}

Result<const PreparedLayout*> Op::prepared_layout(std::vector<int64_t> weight_axes) const {
  OpPlans& plans = this->plans();
  if (plans.prepared.parts.empty() || plans.prepared_axes != weight_axes) {
    plans.prepared = FIB_TRY(lay_out_prepared(solutions_, weight_axes));
    plans.prepared_axes = std::move(weight_axes);
  }
  return &plans.prepared;
}

fib_kernels_status Op::query_prepare(const fib_kernels_call& call,
                                     fib_kernels_prepare_info* info) const {
  if (const auto status = check_size(*info, "info"); status != FIB_KERNELS_OK) return status;
  SolvedCall solved;
  const auto status = shape_.solve(call, place_, Look::kWeightShapes, solved);
  if (status != FIB_KERNELS_OK) return status;
  const auto layout = prepared_layout(shape_.all_axes(solved.raw.axes));
  if (!layout) return refuse(layout.error(), Stage::kCalling);
  info->bytes = (*layout)->bytes;
  info->workspace_bytes = (*layout)->workspace_bytes;
  info->replaces_originals = (*layout)->replaces_originals ? 1 : 0;
  return FIB_KERNELS_OK;
}

fib_kernels_status Op::prepare(const fib_kernels_call& call, void* prepared) const {
  SolvedCall solved;
  const auto status = shape_.solve(call, place_, Look::kWeights, solved);
  if (status != FIB_KERNELS_OK) return status;
  const std::vector<int64_t> axes = shape_.all_axes(solved.raw.axes);
  const auto layout = prepared_layout(axes);
  if (!layout) return refuse(layout.error(), Stage::kCalling);
  if ((*layout)->bytes == 0) return FIB_KERNELS_OK;
  if (prepared == nullptr || !is_aligned(prepared)) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT, "{}: prepared is NULL or no multiple of {} bytes",
                  shape_.name(), kMemoryAlignment);
  }
  if (call.workspace_bytes < (*layout)->workspace_bytes) {
    return refuse(FIB_KERNELS_WORKSPACE_TOO_SMALL,
                  "{}: {} bytes of workspace given, {} are needed to prepare weights",
                  shape_.name(), call.workspace_bytes, (*layout)->workspace_bytes);
  }
  if ((*layout)->workspace_bytes > 0 &&
      (call.workspace == nullptr || !is_aligned(call.workspace))) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT,
                  "{}: call.workspace is NULL or no multiple of {} bytes", shape_.name(),
                  kMemoryAlignment);
  }
  for (size_t i = 0; i < (*layout)->parts.size(); ++i) {
    const PreparedLayout::Part& part = (*layout)->parts[i];
    if (part.bytes == 0) continue;
    const auto done = solutions_.all()[i]->prepare({.axes = axes}, solved.raw,
                                                   static_cast<std::byte*>(prepared) + part.offset);
    if (!done) return refuse(done.error(), Stage::kCalling);
  }
  return FIB_KERNELS_OK;
}

fib_kernels_status Op::choose(const fib_kernels_call& call, fib_kernels_choice* choice) const {
  SolvedCall solved;
  const auto status = shape_.solve(call, place_, Look::kShapes, solved);
  return status == FIB_KERNELS_OK ? choose(solved.raw, choice) : status;
}

fib_kernels_status Op::choose(const fib_kernels_raw_call& call, fib_kernels_choice* choice) const {
  if (const auto status = check_size(*choice, "choice"); status != FIB_KERNELS_OK) return status;
  choice->solution = choice->author = nullptr;
  choice->is_winner = choice->wants_prepared = 0;
  // What a launch finds, no other answer worked out beside it.
  CachedCall spare;
  CachedCall* planned = nullptr;
  const auto status = find_plan(call, spare, &planned);
  if (status == FIB_KERNELS_NOT_PREPARED) choice->wants_prepared = 1;
  if (status == FIB_KERNELS_NOT_PREPARED || status == FIB_KERNELS_UNSUPPORTED) {
    return FIB_KERNELS_OK;
  }
  if (status != FIB_KERNELS_OK) return status;
  const auto candidates = solutions_.candidates({call.axes, shape_.num_varying()});
  const Candidate& chosen = candidates.at(planned->candidate);
  choice->solution = chosen.solution->row().name;
  choice->author = chosen.solution->row().author;
  choice->is_winner = chosen.is_winner ? 1 : 0;
  choice->wants_prepared = planned->wants_prepared ? 1 : 0;
  return FIB_KERNELS_OK;
}

}  // namespace fib::package
