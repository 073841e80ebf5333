#include "runners/worker/plan_worker.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>

#include "runners/worker/landlock.h"
#include "runners/worker/plan_message.h"
#include "runners/worker/sandbox.h"

namespace fib {
namespace {

constexpr const char* kPlanSource = "plan.cpp";
constexpr const char* kEntry = "fib_plan_entry";
// Room for the plan of any size that is allowed, twice, and for host copies of the inputs.
constexpr size_t kMemoryBytes = size_t{4} << 30;

// The C view of a problem; valid as long as the problem is.
class RawProblem {
 public:
  explicit RawProblem(const PlanProblemValue& problem) {
    for (const auto& [name, value] : problem.axes) axes_.push_back({name.c_str(), value});
    for (const PlanTensorValue& input : problem.inputs) inputs_.push_back(raw(input));
    for (const PlanTensorValue& output : problem.outputs) outputs_.push_back(raw(output));
    device_ = problem.device;
  }

  FibPlanProblem get() const {
    return {.abi_version = FIB_PLAN_ABI_VERSION,
            .num_axes = static_cast<int32_t>(axes_.size()),
            .num_inputs = static_cast<int32_t>(inputs_.size()),
            .num_outputs = static_cast<int32_t>(outputs_.size()),
            .axes = axes_.data(),
            .inputs = inputs_.data(),
            .outputs = outputs_.data(),
            .device = device_};
  }

 private:
  static FibPlanTensor raw(const PlanTensorValue& tensor) {
    return {.name = tensor.name.c_str(),
            .dtype = dtype_name(tensor.dtype).data(),  // literals: they end in a NUL
            .ndim = static_cast<int32_t>(tensor.shape.size()),
            .shape = tensor.shape.data(),
            .is_host_scalar = tensor.is_host_scalar ? 1 : 0,
            .scalar = tensor.scalar,
            .host_data = tensor.host_data ? tensor.host_data->data() : nullptr};
  }

  std::vector<FibPlanAxis> axes_;
  std::vector<FibPlanTensor> inputs_, outputs_;
  FibPlanDevice device_{};
};

// Constructors of the object run here, so the sandbox is closed before.
Result<FibPlanEntry> load(const char* object) {
  SandboxPolicy policy{.readable = system_folders(), .memory_bytes = kMemoryBytes};
  policy.readable.emplace_back(object);
  FIB_CHECK(enter_sandbox(policy));
  void* handle = ::dlopen(object, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return fail(ErrorCode::kInvalidInput, fmt::format("can't be loaded: {}", ::dlerror()), kPlanSource);
  }
  void* entry = ::dlsym(handle, kEntry);
  if (entry == nullptr) {
    return fail(ErrorCode::kInvalidInput, fmt::format("exports no {}", kEntry), kPlanSource,
                "end it with FIB_EXPORT_PLAN(your_function)");
  }
  return reinterpret_cast<FibPlanEntry>(entry);
}

// Each run gets data of its own, so that a plan can't leave itself notes in its inputs.
Result<LaunchPlan> collect(FibPlanEntry entry, PlanProblemValue problem) {
  for (PlanTensorValue& input : problem.inputs) {
    if (input.host_data) {
      input.host_data = std::make_shared<const std::vector<std::byte>>(*input.host_data);
    }
  }
  return collect_plan(entry, RawProblem(problem).get());
}

Result<Json> answer(const Result<FibPlanEntry>& entry, Message& message) {
  const PlanProblemValue problem = FIB_TRY(read_plan_message(message));
  if (!entry) return fail(entry.error());
  const Json first = plan_to_json(FIB_TRY(collect(*entry, problem)));
  const auto second = collect(*entry, problem);
  if (!second || plan_to_json(*second) != first) {
    return fail(ErrorCode::kInvalidInput, "gave two different plans for one problem", kPlanSource,
                "a plan may depend on nothing but its problem");
  }
  return Json{{"plan", first}};
}

}  // namespace

Result<PlanProcess> PlanProcess::start(PlanProcessOptions options) {
  PlanProcess process(std::move(options));
  FIB_CHECK(process.revive());
  return process;
}

Result<void> PlanProcess::revive() {
  if (worker_ && worker_->alive()) return {};
  worker_ = FIB_TRY(WorkerProcess::start({.executable = options_.worker_executable,
                                          .kind = "plan",
                                          .arguments = {options_.object.string()}}));
  return {};
}

Result<LaunchPlan> PlanProcess::plan(const PlanProblemValue& problem, Deadline deadline) {
  FIB_CHECK(revive());
  const PlanMessage request = FIB_TRY(write_plan_message(problem));
  const std::array fds = {request.host_data.fd()};
  auto reply = worker_->call(request.body, fds, deadline);
  if (reply && reply->body.is_object() && reply->body.contains("plan")) {
    return plan_from_json(reply->body["plan"]);
  }
  Error error = reply ? Error{ErrorCode::kInvalidInput, "an answer that isn't a plan"}
                      : std::move(reply).error();
  if (error.code == ErrorCode::kTimeout) error.message = "gave no plan before the deadline";
  if (error.code == ErrorCode::kWorkerLost) error.message = "crashed: " + error.message;
  error.where = kPlanSource;
  return fail(std::move(error));
}

int run_plan_worker(Channel channel, std::span<char*> arguments) {
  const Result<FibPlanEntry> entry =
      arguments.size() == 1
          ? load(arguments[0])
          : fail(ErrorCode::kInvalidInput, "the plan worker takes one argument: an object");
  return serve_worker(std::move(channel),
                      [&entry](Message& message) { return answer(entry, message); });
}

}  // namespace fib
