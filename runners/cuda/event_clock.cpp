#include "runners/cuda/device_clock.h"

namespace fib {
namespace {

// Two events a call, made at first use and reused. Events cost the launch gap of the first kernel
// (several microseconds on small calls), which is why they are the second choice.
class EventClock : public DeviceClock {
 public:
  explicit EventClock(const CudaDriver& driver) : driver_(driver) {}
  ~EventClock() override {
    for (const CUevent event : events_) driver_.cuEventDestroy(event);
  }

  Clock kind() const override { return Clock::kCudaEvents; }

  Result<void> begin_call(CUstream stream) override { return record(2 * calls_, stream); }

  Result<void> end_call(CUstream stream) override {
    FIB_CHECK(record(2 * calls_ + 1, stream));
    ++calls_;
    return {};
  }

  Result<std::vector<CallRecord>> collect() override {
    std::vector<CallRecord> records(calls_);
    for (size_t call = 0; call < calls_; ++call) {
      float milliseconds = 0.0f;
      FIB_CHECK(driver_.check(driver_.cuEventElapsedTime(&milliseconds, events_[2 * call],
                                                         events_[2 * call + 1]),
                              "cuEventElapsedTime"));
      records[call].time_ns = milliseconds * 1e6;
    }
    calls_ = 0;
    return records;
  }

 private:
  Result<void> record(size_t index, CUstream stream) {
    if (index == events_.size()) {
      CUevent event = nullptr;
      FIB_CHECK(driver_.check(driver_.cuEventCreate(&event, CU_EVENT_DEFAULT), "cuEventCreate"));
      events_.push_back(event);
    }
    return driver_.check(driver_.cuEventRecord(events_[index], stream), "cuEventRecord");
  }

  const CudaDriver& driver_;
  std::vector<CUevent> events_;
  size_t calls_ = 0;
};

}  // namespace

std::unique_ptr<DeviceClock> make_event_clock(const CudaDriver& driver) {
  return std::make_unique<EventClock>(driver);
}

}  // namespace fib
