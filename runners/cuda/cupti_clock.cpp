#include <cupti.h>
#include <cxxabi.h>
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <unordered_map>

#include "runners/cuda/device_clock.h"

namespace fib {
namespace {

#define FIB_CUPTI_FUNCTIONS(X)                                                               \
  X(cuptiGetVersion) X(cuptiGetResultString) X(cuptiActivityEnable)                          \
  X(cuptiActivityRegisterCallbacks) X(cuptiActivityGetNextRecord) X(cuptiActivityFlushAll)   \
  X(cuptiActivityPushExternalCorrelationId) X(cuptiActivityPopExternalCorrelationId)

struct Cupti {
#define FIB_DECLARE(name) decltype(&::name) name = nullptr;
  FIB_CUPTI_FUNCTIONS(FIB_DECLARE)
#undef FIB_DECLARE
};

// One activity of a call: a kernel, a memset or a copy.
struct Activity {
  uint64_t start = 0, end = 0;
  bool is_kernel = false;
  KernelRecord kernel;
};

constexpr size_t kBufferBytes = 4 << 20;
constexpr size_t kBufferAlignment = 8;

std::string demangle(const char* symbol) {
  if (!symbol) return "?";
  int status = 0;
  char* text = abi::__cxa_demangle(symbol, nullptr, nullptr, &status);
  const std::string name = status == 0 && text ? text : symbol;
  std::free(text);
  return name;
}

class CuptiClock;
// CUPTI's buffer callbacks carry no user pointer, and CUPTI itself is one for the process.
CuptiClock* receiver = nullptr;

class CuptiClock : public DeviceClock {
 public:
  ~CuptiClock() override { receiver = nullptr; }

  Result<void> start(const std::filesystem::path& library) {
    void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
      const char* reason = dlerror();
      return fail(ErrorCode::kEnvironment, reason ? reason : "does not load", library.string(),
                  "run scripts/quickstart --cuda, or pip install nvidia-cuda-cupti");
    }
#define FIB_LOAD(name)                                                                       \
  cupti_.name = reinterpret_cast<decltype(cupti_.name)>(dlsym(handle, #name));               \
  if (!cupti_.name) {                                                                        \
    return fail(ErrorCode::kEnvironment, "libcupti lacks " #name, library.string());         \
  }
    FIB_CUPTI_FUNCTIONS(FIB_LOAD)
#undef FIB_LOAD
    receiver = this;
    // DRIVER is there for its correlation ids: external ids are attached to driver calls.
    for (const CUpti_ActivityKind kind :
         {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMSET,
          CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_DRIVER,
          CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION}) {
      FIB_CHECK(check(cupti_.cuptiActivityEnable(kind), "cuptiActivityEnable"));
    }
    return check(cupti_.cuptiActivityRegisterCallbacks(&request_buffer, &complete_buffer),
                 "cuptiActivityRegisterCallbacks");
  }

  Clock kind() const override { return Clock::kCupti; }

  Result<void> begin_call(CUstream) override {
    return check(cupti_.cuptiActivityPushExternalCorrelationId(
                     CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, first_call_ + num_calls_),
                 "cuptiActivityPushExternalCorrelationId");
  }

  Result<void> end_call(CUstream) override {
    uint64_t id = 0;
    FIB_CHECK(check(cupti_.cuptiActivityPopExternalCorrelationId(
                        CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0, &id),
                    "cuptiActivityPopExternalCorrelationId"));
    ++num_calls_;
    return {};
  }

  Result<std::vector<CallRecord>> collect() override {
    FIB_CHECK(check(cupti_.cuptiActivityFlushAll(0), "cuptiActivityFlushAll"));
    const std::lock_guard lock(mutex_);
    std::vector<std::vector<Activity>> calls(num_calls_);
    for (auto& [correlation, activity] : activities_) {
      const auto call = call_of_.find(correlation);
      if (call == call_of_.end() || call->second < first_call_) continue;
      calls.at(call->second - first_call_).push_back(std::move(activity));
    }
    activities_.clear();
    call_of_.clear();
    first_call_ += num_calls_;
    num_calls_ = 0;
    std::vector<CallRecord> records;
    for (std::vector<Activity>& call : calls) records.push_back(summarise(call));
    return records;
  }

 private:
  static CallRecord summarise(std::vector<Activity>& call) {
    std::sort(call.begin(), call.end(),
              [](const Activity& a, const Activity& b) { return a.start < b.start; });
    uint64_t end = 0;
    CallRecord record;
    for (Activity& activity : call) {
      end = std::max(end, activity.end);
      if (activity.is_kernel) record.kernels.push_back(std::move(activity.kernel));
    }
    if (!call.empty()) record.time_ns = static_cast<double>(end - call.front().start);
    return record;
  }

  Result<void> check(CUptiResult result, const char* what) const {
    if (result == CUPTI_SUCCESS) return {};
    const char* text = nullptr;
    cupti_.cuptiGetResultString(result, &text);
    return fail(ErrorCode::kEnvironment, std::string(what) + ": " + (text ? text : "?"), "CUPTI");
  }

  static void CUPTIAPI request_buffer(uint8_t** buffer, size_t* size, size_t* max_records) {
    *buffer = static_cast<uint8_t*>(std::aligned_alloc(kBufferAlignment, kBufferBytes));
    *size = *buffer ? kBufferBytes : 0;
    *max_records = 0;  // as many as fit
  }

  static void CUPTIAPI complete_buffer(CUcontext, uint32_t, uint8_t* buffer, size_t,
                                       size_t valid_bytes) {
    if (receiver) receiver->read(buffer, valid_bytes);
    std::free(buffer);
  }

  void read(uint8_t* buffer, size_t bytes) {
    const std::lock_guard lock(mutex_);
    CUpti_Activity* record = nullptr;
    while (cupti_.cuptiActivityGetNextRecord(buffer, bytes, &record) == CUPTI_SUCCESS) {
      switch (record->kind) {
        // The oldest layouts that hold what is read here: newer ones only append.
        case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL:
        case CUPTI_ACTIVITY_KIND_KERNEL:
          add_kernel(*reinterpret_cast<const CUpti_ActivityKernel9*>(record));
          break;
        case CUPTI_ACTIVITY_KIND_MEMSET: {
          const auto& memset = *reinterpret_cast<const CUpti_ActivityMemset4*>(record);
          activities_.emplace(memset.correlationId, Activity{memset.start, memset.end});
          break;
        }
        case CUPTI_ACTIVITY_KIND_MEMCPY: {
          const auto& copy = *reinterpret_cast<const CUpti_ActivityMemcpy5*>(record);
          activities_.emplace(copy.correlationId, Activity{copy.start, copy.end});
          break;
        }
        case CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION: {
          const auto& pair = *reinterpret_cast<const CUpti_ActivityExternalCorrelation*>(record);
          call_of_[pair.correlationId] = pair.externalId;
          break;
        }
        default: break;
      }
    }
  }

  void add_kernel(const CUpti_ActivityKernel9& record) {
    Activity activity{record.start, record.end, true};
    KernelRecord& kernel = activity.kernel;
    std::string& name = names_[record.name ? record.name : ""];
    if (name.empty()) name = demangle(record.name);
    kernel.name = name;
    kernel.duration_ns = static_cast<double>(record.end - record.start);
    kernel.registers = record.registersPerThread;
    kernel.shared_bytes =
        static_cast<uint32_t>(record.staticSharedMemory + record.dynamicSharedMemory);
    const int32_t grid[] = {record.gridX, record.gridY, record.gridZ};
    const int32_t block[] = {record.blockX, record.blockY, record.blockZ};
    std::copy_n(grid, 3, kernel.grid);
    std::copy_n(block, 3, kernel.block);
    activities_.emplace(record.correlationId, std::move(activity));
  }

  Cupti cupti_;
  std::mutex mutex_;  // CUPTI completes buffers on its own thread
  std::multimap<uint32_t, Activity> activities_;  // by correlation id; a graph's share one
  std::unordered_map<uint32_t, uint64_t> call_of_;
  std::unordered_map<std::string, std::string> names_;  // symbol -> demangled
  uint64_t first_call_ = 1;
  size_t num_calls_ = 0;
};

}  // namespace

Result<std::unique_ptr<DeviceClock>> open_cupti_clock(const std::filesystem::path& library) {
  auto clock = std::make_unique<CuptiClock>();
  FIB_CHECK(clock->start(library));
  return clock;
}

}  // namespace fib
