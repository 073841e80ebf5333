#include "integrations/package/cpu_device.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <vector>

#include "integrations/package/dispatch.h"
#include "integrations/package/random_fill.h"
#include "runners/cpu/host_cpu.h"

namespace fib {
namespace {

constexpr size_t kAlignment = 256;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kCopyGrain = size_t{1} << 20;
constexpr int64_t kFillGrain = 1 << 16;

// "MemAvailable:   12345 kB": what programs can get without swapping.
size_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;) {
    if (size_t kilobytes = 0; word == "MemAvailable:" && file >> kilobytes) return kilobytes << 10;
  }
  return static_cast<size_t>(::sysconf(_SC_AVPHYS_PAGES)) *
         static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

// Runs body(begin, end) on the pool's threads.
template <class Body>
void run_on(WorkerPool& pool, int64_t count, int64_t grain, const Body& body) {
  const auto call = [](int64_t begin, int64_t end, void* context) {
    (*static_cast<const Body*>(context))(begin, end);
  };
  pool.run(count, grain, call, const_cast<Body*>(&body));
}

// Everything has run when it is enqueued: the host's clock is the device's.
class HostTimer final : public DeviceTimer {
 public:
  Result<void> mark(size_t index) override {
    if (index >= marks_.size()) marks_.resize(index + 1);
    marks_[index] = std::chrono::steady_clock::now();
    return {};
  }
  Result<double> elapsed_ns(size_t from, size_t to) const override {
    return std::chrono::duration<double, std::nano>(marks_.at(to) - marks_.at(from)).count();
  }

 private:
  std::vector<std::chrono::steady_clock::time_point> marks_;
};

}  // namespace

CpuDevice::CpuDevice(int threads) : pool_(threads) {
  const DeviceInfo host = describe_host();
  info_ = {.target = "cpu",
           .name = host.name.substr(0, host.name.rfind(", ")),  // without the harness's threads
           .architecture = host.architecture,
           .hardware = host.key,
           .memory_bytes = host.memory_bytes,
           .threads = threads};
}

size_t CpuDevice::free_bytes() const { return available_memory(); }

Result<void> CpuDevice::upload(std::byte* to, const std::byte* from, size_t bytes) {
  return copy(to, from, bytes);
}

Result<void> CpuDevice::download(std::byte* to, const std::byte* from, size_t bytes) {
  return copy(to, from, bytes);
}

Result<void> CpuDevice::copy(std::byte* to, const std::byte* from, size_t bytes) {
  // One thread can't keep the memory busy.
  run_on(pool_, static_cast<int64_t>(bytes), kCopyGrain, [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
  return {};
}

Result<void> CpuDevice::fill(std::byte* to, int value, size_t bytes) {
  run_on(pool_, static_cast<int64_t>(bytes), kCopyGrain, [&](int64_t begin, int64_t end) {
    std::memset(to + begin, value, static_cast<size_t>(end - begin));
  });
  return {};
}

Result<void> CpuDevice::fill_random(std::byte* to, size_t bytes, float scale, uint64_t seed) {
  const RandomFill fill = FIB_TRY(random_fill(bytes, scale, seed));
  run_on(pool_, fill.count, kFillGrain, [&](int64_t begin, int64_t end) {
    fill_generated(fill.generated, fill.dtype, begin, end - begin,
                   to + storage_bytes(fill.dtype, begin));
  });
  return {};
}

Result<std::unique_ptr<DeviceGraph>> CpuDevice::capture(const std::function<Result<void>()>&) {
  return fail(ErrorCode::kUnsupported, "the cpu target has no graphs", {},
              "run the calls as they are");
}

std::unique_ptr<DeviceTimer> CpuDevice::make_timer() { return std::make_unique<HostTimer>(); }

Result<std::byte*> CpuDevice::allocate_bytes(size_t bytes) {
  const size_t alignment = bytes < kHugePage ? kAlignment : kHugePage;
  const size_t whole = (bytes + alignment - 1) / alignment * alignment;
  // The system promises more than it has and kills whoever takes it at its word.
  const size_t available = bytes < kHugePage ? whole : available_memory();
  void* data = whole <= available ? std::aligned_alloc(alignment, whole) : nullptr;
  if (data == nullptr) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("no {:.1f} GiB of memory, {:.1f} of {:.1f} GiB available",
                            bytes / 0x1p30, available / 0x1p30, info_.memory_bytes / 0x1p30));
  }
  // Weights are read at random: with small pages each row would miss the TLB. Advice only.
  if (alignment == kHugePage) ::madvise(data, whole, MADV_HUGEPAGE);
  return static_cast<std::byte*>(data);
}

void CpuDevice::free_bytes_at(std::byte* data) { std::free(data); }
Result<std::byte*> CpuDevice::allocate_host_bytes(size_t bytes) { return allocate_bytes(bytes); }
void CpuDevice::free_host_bytes_at(std::byte* data) { std::free(data); }

Result<std::unique_ptr<ServingDevice>> open_cpu_device(int threads) {
  if (threads < 0) {
    return fail(ErrorCode::kInvalidInput, fmt::format("{} threads", threads), {},
                "give a number from 1 on, or 0 for all processors");
  }
  return std::make_unique<CpuDevice>(threads == 0 ? host_threads() : threads);
}

}  // namespace fib
