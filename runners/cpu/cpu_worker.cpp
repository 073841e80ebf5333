#include "runners/cpu/cpu_worker.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <malloc.h>

#include <bit>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include "harness/abi/fib/cpu.h"
#include "runners/cpu/arena.h"
#include "runners/cpu/data_type.h"
#include "runners/cpu/futex.h"
#include "runners/cpu/worker_pool.h"
#include "runners/worker/landlock.h"
#include "runners/worker/sandbox.h"

namespace fib {
namespace {

// The parent rings as soon as it sees that the worker is ready.
constexpr int64_t kDoorbellSpinNs = 20'000'000;
constexpr size_t kPageBytes = 4096;

void parallel_for(const FibCall* call, int64_t count, int64_t grain, FibBody body,
                  void* context) {
  static_cast<WorkerPool*>(call->host)->run(count, grain, body, context);
}

// The tensors of a problem; shapes live here, data pointers differ by call.
struct Tensors {
  std::vector<std::vector<int64_t>> shapes;
  std::vector<FibTensor> tensors;
  std::vector<FibScalar> scalars;

  void add(const Json& json) {
    shapes.push_back(json["shape"].get<std::vector<int64_t>>());
    FibTensor tensor{};
    tensor.device = FibDevice{1, 0};
    tensor.ndim = static_cast<int32_t>(shapes.back().size());
    tensor.dtype = data_type(dtype_from_name(json["dtype"].get<std::string>()).value());
    tensors.push_back(tensor);
    FibScalar scalar{};
    if (json.contains("scalar_bits")) {
      scalar.f = std::bit_cast<double>(json["scalar_bits"].get<uint64_t>());
      scalar.i = static_cast<int64_t>(scalar.f);
    }
    scalars.push_back(scalar);
  }
  void point_to_shapes() {
    for (size_t i = 0; i < tensors.size(); ++i) tensors[i].shape = shapes[i].data();
  }
};

// What the candidate's own code throws is its failure, told to the parent in words.
template <class Function>
Result<std::invoke_result_t<Function>> guarded(const Function& function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kResourceExhausted, "ran out of memory (std::bad_alloc)");
  } catch (const std::exception& exception) {
    return fail(ErrorCode::kInvalidInput, fmt::format("threw an exception: {}", exception.what()));
  }
}

// A FibCall together with the tensors it points to.
struct PreparedCall {
  std::vector<FibTensor> inputs, outputs;
  FibCall call{};
};

class CpuWorker {
 public:
  Result<Json> handle(Message& request) {
    const std::string what = request.body["do"];
    if (what == "open") return open(request.body);
    if (what == "load") return load();
    if (what == "problem") return problem(request.body);
    if (what == "arena") return arena(request);
    if (what == "prepare") return prepare(request.body);
    if (what == "batch") return batch(request.body);
    throw std::logic_error("cpu worker asked to " + what);
  }

 private:
  Result<Json> open(const Json& request);
  Result<Json> load();
  Result<Json> problem(const Json& request);
  Result<Json> arena(Message& request);
  Result<Json> prepare(const Json& request);
  Result<Json> batch(const Json& request);

  std::byte* at(int64_t offset) const {
    return offset < 0 ? nullptr : arena_->bytes().data() + offset;
  }
  void fill(PreparedCall& prepared, const Json* places) const;

  std::filesystem::path library_;
  std::unique_ptr<WorkerPool> pool_;
  int (*run_)(const FibCall*) = nullptr;
  size_t (*workspace_bytes_)(const FibCall*) = nullptr;
  size_t (*prepared_bytes_)(const FibCall*) = nullptr;
  int (*prepare_)(const FibCall*) = nullptr;
  Tensors inputs_, outputs_;
  size_t workspace_size_ = 0;
  size_t prepared_size_ = 0;
  std::optional<SharedMemory> arena_;
};

Result<Json> CpuWorker::open(const Json& request) {
  ::mallopt(M_ARENA_MAX, 1);  // an arena a thread would reserve 64 MiB each of the address space
  library_ = request["library"].get<std::string>();
  SandboxPolicy policy;
  policy.readable = system_folders();  // the C++ runtime, where this binary carries its own
  policy.readable.push_back(library_.parent_path());
  policy.memory_bytes = request["memory_bytes"].get<size_t>();
  policy.start_threads = [&] {
    pool_ = std::make_unique<WorkerPool>(request["threads"].get<int>());
  };
  const SandboxReport report = FIB_TRY(enter_sandbox(policy));
  return Json{{"missing", report.missing}};
}

Result<Json> CpuWorker::load() {
  void* handle = ::dlopen(library_.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return fail(ErrorCode::kNotFound, ::dlerror());
  const auto bind = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
        ::dlsym(handle, name));
  };
  bind(run_, "fib_run");
  bind(workspace_bytes_, "fib_workspace_bytes");
  bind(prepared_bytes_, "fib_prepared_bytes");
  bind(prepare_, "fib_prepare");
  if (run_ == nullptr) {
    return fail(ErrorCode::kNotFound, "the solution does not export fib_run", {},
                "declare it extern \"C\" int fib_run(const FibCall*)");
  }
  if ((prepare_ == nullptr) != (prepared_bytes_ == nullptr)) {
    return fail(ErrorCode::kNotFound,
                "of fib_prepare and fib_prepared_bytes the solution exports only one");
  }
  return Json{{"prepares", prepare_ != nullptr}};
}

Result<Json> CpuWorker::problem(const Json& request) {
  arena_.reset();
  inputs_ = {};
  outputs_ = {};
  for (const Json& tensor : request["inputs"]) inputs_.add(tensor);
  for (const Json& tensor : request["outputs"]) outputs_.add(tensor);
  inputs_.point_to_shapes();
  outputs_.point_to_shapes();
  workspace_size_ = prepared_size_ = 0;
  PreparedCall prepared;
  fill(prepared, nullptr);
  const auto ask = [&](auto function) -> Result<size_t> {
    if (function == nullptr) return 0;
    return guarded([&] { return function(&prepared.call); });
  };
  workspace_size_ = FIB_TRY(ask(workspace_bytes_));
  prepared_size_ = FIB_TRY(ask(prepared_bytes_));
  return Json{{"workspace_bytes", workspace_size_}, {"prepared_bytes", prepared_size_}};
}

Result<Json> CpuWorker::arena(Message& request) {
  const int fd = std::exchange(request.fds.at(0), -1);
  arena_ = FIB_TRY(SharedMemory::adopt(fd, request.body["bytes"].get<size_t>()));
  // Page faults are the host's affair, not the candidate's.
  for (size_t page = 0; page < arena_->bytes().size(); page += kPageBytes)
    static_cast<void>(*static_cast<volatile std::byte*>(arena_->bytes().data() + page));
  return Json::object();
}

// Null pointers everywhere where `places` is null.
void CpuWorker::fill(PreparedCall& prepared, const Json* places) const {
  prepared.inputs = inputs_.tensors;
  prepared.outputs = outputs_.tensors;
  FibCall& call = prepared.call;
  call.abi_version = FIB_CPU_ABI_VERSION;
  call.num_inputs = static_cast<int32_t>(prepared.inputs.size());
  call.num_outputs = static_cast<int32_t>(prepared.outputs.size());
  call.num_threads = pool_->size();
  call.inputs = prepared.inputs.data();
  call.scalars = inputs_.scalars.data();
  call.outputs = prepared.outputs.data();
  call.parallel_for = parallel_for;
  call.host = pool_.get();
  call.workspace_bytes = workspace_size_;
  call.prepared_bytes = prepared_size_;
  if (places == nullptr) return;
  for (size_t i = 0; i < prepared.inputs.size(); ++i)
    prepared.inputs[i].data = at((*places)["inputs"][i].get<int64_t>());
  for (size_t i = 0; i < prepared.outputs.size(); ++i)
    prepared.outputs[i].data = at((*places)["outputs"][i].get<int64_t>());
  call.workspace = at((*places)["workspace"].get<int64_t>());
  call.prepared = at((*places)["prepared"].get<int64_t>());
}

Result<Json> CpuWorker::prepare(const Json& request) {
  PreparedCall prepared;
  fill(prepared, &request["call"]);
  pool_->rouse();
  const int returned = FIB_TRY(guarded([&] { return prepare_(&prepared.call); }));
  return Json{{"returned", returned}};
}

Result<Json> CpuWorker::batch(const Json& request) {
  const uint32_t ticket = request["ticket"].get<uint32_t>();
  const Json& places = request["calls"];
  std::vector<PreparedCall> calls(places.size());
  for (size_t i = 0; i < calls.size(); ++i) fill(calls[i], &places[i]);

  auto& control = *reinterpret_cast<BatchControl*>(arena_->bytes().data());
  pool_->rouse();
  control.armed.store(ticket);
  futex_wake_all(control.armed, FutexScope::kProcesses);
  while (!spin_for(control.doorbell, ticket, kDoorbellSpinNs)) {
    futex_wait(control.doorbell, ticket - 1, kDoorbellSpinNs, FutexScope::kProcesses);
  }
  const int64_t begin = monotonic_ns();
  size_t done = 0;
  const Result<int> returned = guarded([&] {
    int code = 0;
    while (done < calls.size() && (code = run_(&calls[done].call)) == 0) ++done;
    return code;
  });
  const int64_t end = monotonic_ns();
  control.answer.store(ticket);
  futex_wake_all(control.answer, FutexScope::kProcesses);
  return Json{{"returned", FIB_TRY(Result<int>(returned))},
              {"failed_call", done},
              {"busy_ns", end - begin}};
}

}  // namespace

int run_cpu_worker(Channel channel, std::span<char*>) {
  CpuWorker worker;
  return serve_worker(std::move(channel),
                      [&](Message& request) { return worker.handle(request); });
}

}  // namespace fib
