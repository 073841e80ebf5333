#pragma once

// What plan.cpp of a `cuda` solution writes: a pure function from the problem to a launch plan.
//
//   #include <fib/plan.h>
//   void fib_plan(const fib::PlanProblem& problem, fib::Plan& plan) {
//     const int64_t rows = problem.axis("batch_size");
//     plan.launch("rmsnorm<4096>")
//         .grid(rows).block(512)
//         .arg(problem.input("hidden_states")).arg(problem.input("weight"))
//         .arg(problem.output("output")).arg(static_cast<int32_t>(rows));
//   }
//   FIB_EXPORT_PLAN(fib_plan)
//
// No device, no files, no network, no clock: the same problem must give the same plan, because
// plans are cached by their inputs and replayed by the judge, by exported packages and by the
// serving engine. Light on purpose: no standard containers, compiles in a fraction of a second.

#include <stdint.h>
#include <stddef.h>
#include <string.h>

extern "C" {

#define FIB_PLAN_ABI_VERSION 1

typedef struct FibPlanAxis {
  const char* name;
  int64_t value;
} FibPlanAxis;

typedef struct FibPlanTensor {
  const char* name;
  const char* dtype;         // "bfloat16"
  int32_t ndim;
  const int64_t* shape;
  int32_t is_host_scalar;
  double scalar;             // host scalars only
  const void* host_data;     // host-visible integer inputs: row-major values, else NULL
} FibPlanTensor;

typedef struct FibPlanDevice {
  int32_t compute_major, compute_minor;
  int32_t multiprocessors;
  int32_t max_threads_per_multiprocessor;
  int32_t max_shared_bytes_per_block;          // opt-in maximum
  int32_t max_shared_bytes_per_multiprocessor;
  int32_t warp_size;
  int64_t l2_bytes;
  int64_t memory_bytes;
} FibPlanDevice;

typedef struct FibPlanProblem {
  uint32_t abi_version;
  int32_t num_axes, num_inputs, num_outputs;
  const FibPlanAxis* axes;
  const FibPlanTensor* inputs;    // signature order
  const FibPlanTensor* outputs;   // signature order
  FibPlanDevice device;
} FibPlanProblem;

// Where a kernel argument's or a tensor map's memory comes from.
enum FibPlanSpace {
  FIB_SPACE_INPUT = 0,      // index: input
  FIB_SPACE_OUTPUT = 1,     // index: output
  FIB_SPACE_WORKSPACE = 2,  // index 0; per call, content undefined
  FIB_SPACE_PREPARED = 3    // index 0; written once by the prepare launches
};

typedef struct FibPlanPointer {
  int32_t space;
  int32_t index;
  int64_t byte_offset;
} FibPlanPointer;

enum FibPlanArgKind { FIB_ARG_POINTER = 0, FIB_ARG_BYTES = 1, FIB_ARG_TENSOR_MAP = 2 };

// cuTensorMapEncodeTiled's parameters, innermost dimension first; enums by their CUDA values.
typedef struct FibPlanTensorMap {
  FibPlanPointer base;
  int32_t dtype;            // CUtensorMapDataType
  uint32_t rank;            // 1..5
  uint64_t size[5];         // elements
  uint64_t stride_bytes[4]; // of dimensions 1..rank-1
  uint32_t box[5];
  uint32_t element_stride[5];
  int32_t interleave, swizzle, l2_promotion, oob_fill;
} FibPlanTensorMap;

typedef struct FibPlanArg {
  int32_t kind;
  FibPlanPointer pointer;          // FIB_ARG_POINTER
  const void* bytes;               // FIB_ARG_BYTES: by value
  uint32_t size;                   // of bytes, at most 4000
  const FibPlanTensorMap* tensor_map;  // FIB_ARG_TENSOR_MAP: a __grid_constant__ CUtensorMap
} FibPlanArg;

typedef struct FibPlanLaunch {
  const char* kernel;              // a name expression of the manifest, "{axis}" replaced
  uint32_t grid[3], block[3], cluster[3];  // cluster 0,0,0: none
  uint32_t shared_bytes;           // dynamic
  int32_t cooperative;             // grid-wide sync allowed
  int32_t programmatic;            // programmatic stream serialization (dependent launch)
  int32_t prepare;                 // runs once per set of weights, not in the call
  int32_t num_args;
  const FibPlanArg* args;
} FibPlanLaunch;

typedef struct FibPlanMemset {
  FibPlanPointer target;
  uint64_t bytes;
  uint32_t value;                  // a byte
  int32_t prepare;
} FibPlanMemset;

// Filled by the host; callbacks copy what they are given.
typedef struct FibPlanSink {
  void* context;
  void (*launch)(void* context, const FibPlanLaunch* launch);
  void (*memset)(void* context, const FibPlanMemset* memset);
  void (*workspace)(void* context, uint64_t bytes);
  void (*prepared)(void* context, uint64_t bytes);
  void (*fail)(void* context, const char* reason);  // "this shape is not supported": a refusal
} FibPlanSink;

typedef void (*FibPlanEntry)(const FibPlanProblem* problem, const FibPlanSink* sink);

}  // extern "C"

// Outside fib, where argument-dependent lookup finds it.
inline FibPlanPointer operator+(FibPlanPointer p, int64_t bytes) {
  p.byte_offset += bytes;
  return p;
}

namespace fib {

using PlanPointer = FibPlanPointer;
using PlanTensorMap = FibPlanTensorMap;

class Plan;

class PlanProblem {
 public:
  PlanProblem(const FibPlanProblem* raw, Plan* plan) : raw_(raw), plan_(plan) {}

  // An unknown name fails the plan with that name in the message; the values are then 0.
  int64_t axis(const char* name) const;
  PlanPointer input(const char* name) const;
  PlanPointer output(const char* name) const;
  double scalar(const char* name) const;
  // False where only the device knows the values: a captured graph is replayed with others, so the
  // plan must hold for all that the axes allow, each axis an upper bound.
  bool has_host(const char* name) const;
  // Values of a host-visible integer input; nullptr fails the plan.
  const int32_t* host_int32(const char* name) const;
  const int64_t* host_int64(const char* name) const;
  const FibPlanDevice& device() const { return raw_->device; }
  const FibPlanProblem& raw() const { return *raw_; }

 private:
  const FibPlanTensor* find_input(const char* name) const;
  const FibPlanProblem* raw_;
  Plan* plan_;
};

// One kernel launch; sent when it goes out of scope, so chain the calls in one statement.
class Launch {
 public:
  Launch(const FibPlanSink* sink, const char* kernel) : sink_(sink) {
    memset(&launch_, 0, sizeof launch_);
    launch_.kernel = kernel;
    for (int i = 0; i < 3; ++i) launch_.grid[i] = launch_.block[i] = 1;
  }
  Launch(const Launch&) = delete;
  Launch& operator=(const Launch&) = delete;
  ~Launch() {
    launch_.num_args = num_args_;
    launch_.args = args_;
    if (num_args_ > kMaxArgs || bytes_used_ > kMaxBytes || num_maps_ > kMaxMaps) {
      sink_->fail(sink_->context, "more kernel arguments than a launch can hold");
    } else {
      sink_->launch(sink_->context, &launch_);
    }
  }

  Launch& grid(int64_t x, int64_t y = 1, int64_t z = 1) { return set(launch_.grid, x, y, z); }
  Launch& block(int64_t x, int64_t y = 1, int64_t z = 1) { return set(launch_.block, x, y, z); }
  Launch& cluster(int64_t x, int64_t y = 1, int64_t z = 1) { return set(launch_.cluster, x, y, z); }
  Launch& shared_bytes(int64_t bytes) { launch_.shared_bytes = (uint32_t)bytes; return *this; }
  Launch& cooperative() { launch_.cooperative = 1; return *this; }
  Launch& programmatic() { launch_.programmatic = 1; return *this; }
  Launch& prepare() { launch_.prepare = 1; return *this; }

  Launch& arg(PlanPointer pointer) {
    if (num_args_ < kMaxArgs) {
      args_[num_args_].kind = FIB_ARG_POINTER;
      args_[num_args_].pointer = pointer;
    }
    ++num_args_;
    return *this;
  }
  Launch& arg(const PlanTensorMap& map) {
    if (num_maps_ < kMaxMaps) {
      maps_[num_maps_] = map;
      if (num_args_ < kMaxArgs) {
        args_[num_args_].kind = FIB_ARG_TENSOR_MAP;
        args_[num_args_].tensor_map = &maps_[num_maps_];
      }
    }
    ++num_maps_;
    ++num_args_;
    return *this;
  }
  // Any trivially copyable value: int32_t, float, a struct.
  template <class T>
  Launch& arg(const T& value) {
    static_assert(__is_trivially_copyable(T), "kernel arguments are passed by value as bytes");
    const uint32_t at = (bytes_used_ + alignof(T) - 1) / alignof(T) * alignof(T);
    if (at + sizeof(T) <= kMaxBytes && num_args_ < kMaxArgs) {
      memcpy(bytes_ + at, &value, sizeof(T));
      args_[num_args_].kind = FIB_ARG_BYTES;
      args_[num_args_].bytes = bytes_ + at;
      args_[num_args_].size = sizeof(T);
    }
    bytes_used_ = at + sizeof(T);
    ++num_args_;
    return *this;
  }

 private:
  static constexpr int kMaxArgs = 64, kMaxMaps = 8;
  static constexpr uint32_t kMaxBytes = 4000;

  Launch& set(uint32_t (&dims)[3], int64_t x, int64_t y, int64_t z) {
    const int64_t values[3] = {x, y, z};
    for (int i = 0; i < 3; ++i) {
      // Out-of-range values become 0, which the checker refuses by name.
      dims[i] = values[i] > 0 && values[i] <= 0x7fffffff ? (uint32_t)values[i] : 0;
    }
    return *this;
  }

  const FibPlanSink* sink_;
  FibPlanLaunch launch_;
  FibPlanArg args_[kMaxArgs];
  PlanTensorMap maps_[kMaxMaps];
  alignas(16) unsigned char bytes_[kMaxBytes];
  int num_args_ = 0, num_maps_ = 0;
  uint32_t bytes_used_ = 0;
};

class Plan {
 public:
  explicit Plan(const FibPlanSink* sink) : sink_(sink) {}

  Launch launch(const char* kernel) { return Launch(sink_, kernel); }

  // Reserves workspace; each call returns a fresh 256-byte-aligned piece.
  PlanPointer workspace(int64_t bytes) { return reserve(FIB_SPACE_WORKSPACE, workspace_bytes_, bytes); }
  // The same for memory that `prepare` launches fill once from the weights.
  PlanPointer prepared(int64_t bytes) { return reserve(FIB_SPACE_PREPARED, prepared_bytes_, bytes); }

  void memset(PlanPointer target, int64_t bytes, uint8_t value = 0, bool prepare = false) {
    FibPlanMemset m = {target, (uint64_t)bytes, value, prepare ? 1 : 0};
    sink_->memset(sink_->context, &m);
  }
  void fail(const char* reason) { sink_->fail(sink_->context, reason); }
  void finish() {
    sink_->workspace(sink_->context, workspace_bytes_);
    sink_->prepared(sink_->context, prepared_bytes_);
  }

 private:
  PlanPointer reserve(int32_t space, uint64_t& used, int64_t bytes) {
    PlanPointer p = {space, 0, (int64_t)used};
    used += ((uint64_t)bytes + 255) / 256 * 256;
    return p;
  }
  const FibPlanSink* sink_;
  uint64_t workspace_bytes_ = 0;
  uint64_t prepared_bytes_ = 0;
};

inline int64_t PlanProblem::axis(const char* name) const {
  for (int i = 0; i < raw_->num_axes; ++i) {
    if (strcmp(raw_->axes[i].name, name) == 0) return raw_->axes[i].value;
  }
  plan_->fail(name);
  return 0;
}
inline const FibPlanTensor* PlanProblem::find_input(const char* name) const {
  for (int i = 0; i < raw_->num_inputs; ++i) {
    if (strcmp(raw_->inputs[i].name, name) == 0) return &raw_->inputs[i];
  }
  plan_->fail(name);
  return nullptr;
}
inline PlanPointer PlanProblem::input(const char* name) const {
  const FibPlanTensor* tensor = find_input(name);
  return PlanPointer{FIB_SPACE_INPUT, tensor ? (int32_t)(tensor - raw_->inputs) : 0, 0};
}
inline PlanPointer PlanProblem::output(const char* name) const {
  for (int i = 0; i < raw_->num_outputs; ++i) {
    if (strcmp(raw_->outputs[i].name, name) == 0) return PlanPointer{FIB_SPACE_OUTPUT, i, 0};
  }
  plan_->fail(name);
  return PlanPointer{FIB_SPACE_OUTPUT, 0, 0};
}
inline double PlanProblem::scalar(const char* name) const {
  const FibPlanTensor* tensor = find_input(name);
  return tensor ? tensor->scalar : 0.0;
}
inline bool PlanProblem::has_host(const char* name) const {
  const FibPlanTensor* tensor = find_input(name);
  return tensor && tensor->host_data;
}
inline const int32_t* PlanProblem::host_int32(const char* name) const {
  const FibPlanTensor* tensor = find_input(name);
  if (tensor && (!tensor->host_data || strcmp(tensor->dtype, "int32") != 0)) plan_->fail(name);
  return tensor ? (const int32_t*)tensor->host_data : nullptr;
}
inline const int64_t* PlanProblem::host_int64(const char* name) const {
  const FibPlanTensor* tensor = find_input(name);
  if (tensor && (!tensor->host_data || strcmp(tensor->dtype, "int64") != 0)) plan_->fail(name);
  return tensor ? (const int64_t*)tensor->host_data : nullptr;
}

}  // namespace fib

// FIB_PLAN_SYMBOL lets a package compile many plans into one object.
#ifndef FIB_PLAN_SYMBOL
#define FIB_PLAN_SYMBOL fib_plan_entry
#endif
#define FIB_EXPORT_PLAN(function)                                                              \
  extern "C" __attribute__((visibility("default"))) void FIB_PLAN_SYMBOL(                      \
      const FibPlanProblem* raw, const FibPlanSink* sink) {                                    \
    ::fib::Plan plan(sink);                                                                    \
    const ::fib::PlanProblem problem(raw, &plan);                                              \
    function(problem, plan);                                                                   \
    plan.finish();                                                                             \
  }
