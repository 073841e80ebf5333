#include "runners/cuda/nvrtc_worker.h"

#include <cstring>
#include <utility>

namespace fib {
namespace {

constexpr size_t kMaxCubinBytes = 64 << 20;       // sparse: costs only what is written
constexpr size_t kMaxMemoryBytes = 16ull << 30;   // a compile that needs more is a bomb
constexpr double kStartSeconds = 30.0;

Result<std::string> argument_after(std::span<char*> arguments, std::string_view name) {
  for (size_t i = 0; i + 1 < arguments.size(); ++i) {
    if (arguments[i] == name) return std::string(arguments[i + 1]);
  }
  return fail(ErrorCode::kInvalidInput, "missing argument " + std::string(name), "nvrtc worker");
}

}  // namespace

int run_nvrtc_worker(Channel channel, std::span<char*> arguments) {
  std::unique_ptr<Nvrtc> nvrtc;
  const auto answer = [&](Message& request) -> Result<Json> {
    if (!nvrtc) nvrtc = FIB_TRY(Nvrtc::open(FIB_TRY(argument_after(arguments, "--library"))));
    if (request.body.contains("version")) return Json{{"version", nvrtc->version()}};
    if (request.fds.size() != 1) {
      return fail(ErrorCode::kInvalidInput, "one descriptor expected", "nvrtc worker");
    }
    const SharedMemory out =
        FIB_TRY(SharedMemory::adopt(std::exchange(request.fds[0], -1), kMaxCubinBytes));
    const NvrtcResult result =
        FIB_TRY(nvrtc->compile(FIB_TRY(nvrtc_request_from_json(request.body))));
    if (result.cubin.size() > kMaxCubinBytes) {
      return fail(ErrorCode::kResourceExhausted, "the device binary is larger than 64 MiB",
                  "NVRTC");
    }
    std::memcpy(out.bytes().data(), result.cubin.data(), result.cubin.size());
    Json json = nvrtc_result_to_json(result);
    json["cubin_bytes"] = result.cubin.size();
    return json;
  };
  return serve_worker(std::move(channel), answer);
}

struct NvrtcFarm::Worker {
  std::unique_ptr<WorkerProcess> process;
  SharedMemory cubin;
};

NvrtcFarm::NvrtcFarm(NvrtcFarmOptions options) : options_(std::move(options)) {}
NvrtcFarm::~NvrtcFarm() = default;

Result<std::unique_ptr<NvrtcFarm::Worker>> NvrtcFarm::start_worker() const {
  WorkerOptions worker{.executable = options_.worker_executable,
                       .kind = "nvrtc",
                       .arguments = {"--library", options_.library.string()},
                       .address_space_bytes = kMaxMemoryBytes};
  auto process = FIB_TRY(WorkerProcess::start(worker));
  auto cubin = FIB_TRY(SharedMemory::create(kMaxCubinBytes, "cubin"));
  return std::make_unique<Worker>(Worker{std::move(process), std::move(cubin)});
}

Result<std::unique_ptr<NvrtcFarm::Worker>> NvrtcFarm::take_worker() {
  std::unique_lock lock(mutex_);
  freed_.wait(lock, [&] { return !idle_.empty() || started_ < options_.max_workers; });
  if (!idle_.empty()) {
    auto worker = std::move(idle_.back());  // the most recently used is the warmest
    idle_.pop_back();
    return worker;
  }
  ++started_;
  lock.unlock();
  auto worker = start_worker();
  if (!worker) give_back(nullptr);
  return worker;
}

void NvrtcFarm::give_back(std::unique_ptr<Worker> worker) {
  const std::lock_guard lock(mutex_);
  if (worker) {
    idle_.push_back(std::move(worker));
  } else {
    --started_;
  }
  freed_.notify_one();
}

Result<NvrtcResult> NvrtcFarm::compile(const NvrtcRequest& request, double timeout_s) {
  auto worker = FIB_TRY(take_worker());
  const int fd = worker->cubin.fd();
  auto answer = worker->process->call(nvrtc_request_to_json(request), {&fd, 1},
                                      deadline_in(timeout_s));
  if (!answer) {
    const bool lost = !worker->process->alive() || answer.error().code == ErrorCode::kTimeout ||
                      answer.error().code == ErrorCode::kWorkerLost;
    give_back(lost ? nullptr : std::move(worker));
    return fail(std::move(answer).error());
  }
  auto result = nvrtc_result_from_json(answer->body);
  if (result && result->ok) {
    const size_t bytes = answer->body.value("cubin_bytes", size_t{0});
    result->cubin.assign(reinterpret_cast<const char*>(worker->cubin.bytes().data()),
                         std::min(bytes, kMaxCubinBytes));
  }
  give_back(std::move(worker));
  return result;
}

Result<std::string> NvrtcFarm::version() {
  auto worker = FIB_TRY(take_worker());
  auto answer = worker->process->call(Json{{"version", true}}, {}, deadline_in(kStartSeconds));
  give_back(answer ? std::move(worker) : nullptr);
  if (!answer) return fail(std::move(answer).error());
  return answer->body.value("version", std::string());
}

}  // namespace fib
