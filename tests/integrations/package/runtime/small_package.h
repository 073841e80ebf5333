#pragma once

// A package of one signature, written by hand: y = x * weight * factor + bias, for float32 x and y
// of shape [rows, 4], with "starts", an int32 input of rows + 1 values that plans may look at.
// Built for bias 1, which is the signature's own, and for bias 2 (not on cards). Its solutions:
//
//   plain    fallback, takes everything
//   fast     winner for 1 to 8 rows on the hardware that runs the test and on "Fake_Card"; refuses
//   7
//            rows; wants 64 bytes of workspace a row
//   packed   winner for 100 to 200 rows; wants the weight prepared, and on cards a tensor map of x
//   refuser  comes first where there are 1000 rows, and refuses them

#include <atomic>
#include <string>
#include <vector>

#include "integrations/package/include/fib_kernels.h"
#include "integrations/package/runtime/package_table.h"

namespace fib::package {

constexpr int64_t kColumns = 4;
constexpr const char* kScale = "scale_rows_k4";
constexpr const char* kFakeCard = "Fake_Card";

// How often each solution's CPU function was called, and each plan made.
struct Counters {
  std::atomic<int> plain{0}, fast{0}, packed{0}, refuser{0};
  std::atomic<int> plans{0};
};
extern Counters counters;

// What a body that runs on the CPU does besides, if anything: a call of its own, say.
extern void (*on_plain_run)();

// Tensors of a call on the CPU, filled with small integers, so that results are exact.
class ScaleCall {
 public:
  explicit ScaleCall(int64_t rows, double factor = 2.0);
  ScaleCall(const ScaleCall&) = delete;
  ScaleCall& operator=(const ScaleCall&) = delete;

  fib_kernels_call call = FIB_KERNELS_CALL_INIT;  // members may be changed
  std::vector<fib_kernels_tensor> inputs, outputs;
  fib_kernels_raw_call raw();
  void set_workspace(size_t bytes);  // exactly so many

  const float* y() const { return y_; }
  float expected(int64_t element, double bias = 1.0) const;
  bool is_right(double bias = 1.0) const;
  void clear();

  std::vector<double> scalars;
  std::vector<const void*> host_inputs;
  std::vector<int64_t> axes;  // rows, len
  std::vector<void*> raw_inputs, raw_outputs;

 private:
  float* block(size_t floats);  // aligned to 256 bytes

  int64_t rows_;
  std::vector<std::vector<std::byte>> memory_;
  std::vector<std::vector<int64_t>> shapes_;
  float* x_ = nullptr;
  float* weight_ = nullptr;
  float* y_ = nullptr;
  std::vector<int32_t> starts_;
};

// An open device, and an op of it.
class OpenPackage {
 public:
  static fib_kernels_device_options cpu_options(int threads = 1);
  explicit OpenPackage(const fib_kernels_device_options& options = cpu_options());
  explicit OpenPackage(fib_kernels_device* device) : device(device) {}
  ~OpenPackage() { fib_kernels_close(device); }
  OpenPackage(const OpenPackage&) = delete;
  OpenPackage& operator=(const OpenPackage&) = delete;

  const fib_kernels_op* find(const char* signature = kScale) const;

  fib_kernels_device* device = nullptr;
};

}  // namespace fib::package
