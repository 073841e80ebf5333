#pragma once

// What a package's shared object contains, as constant data: `fib export` generates the rows, the
// run-time library in the same object reads them. Plain structs of pointers: nothing is parsed or
// constructed when the object is loaded.

#include <cstddef>
#include <cstdint>

#include "harness/abi/fib/cpu.h"
#include "harness/abi/fib/plan.h"
#include "integrations/package/include/fib_kernels.h"

namespace fib::package {

template <class T>
struct Rows {  // a constant array
  const T* data = nullptr;
  size_t size = 0;
  const T* begin() const { return data; }
  const T* end() const { return data + size; }
  const T& operator[](size_t i) const { return data[i]; }
};

// ---- Solutions

struct KernelSymbol {
  const char* expression;  // "rmsnorm<4096>"
  const char* symbol;      // in the device binary
};

struct DeviceBinary {
  const char* architecture;  // "sm_90a"; runs on cards of just this one ("...a"), or of this major
                             // version and at least this minor one
  const unsigned char* cubin;
  size_t bytes;
  Rows<KernelSymbol> kernels;
};

struct CudaCode {
  FibPlanEntry plan = nullptr;  // null: no cuda code
  Rows<DeviceBinary> binaries;
};

struct CpuCode {
  const char* level;  // "x86-64-v3", "x86-64-v4", "x86-64-v4-bf16", "x86-64-v4-amx", "native"
  int (*run)(const FibCall*);
  size_t (*workspace_bytes)(const FibCall*);  // these three may be null
  size_t (*prepared_bytes)(const FibCall*);
  int (*prepare)(const FibCall*);
  // "native": HostProcessor::flags (runners/cpu/host_identity.h) of the machine it was compiled on;
  // it runs where each of them is there. Other levels say themselves what they need.
  const char* flags = nullptr;
};

struct SolutionRow {
  const char* name;
  const char* key;  // solution_key()
  const char* author;
  const char* license;
  CudaCode cuda;
  Rows<CpuCode> cpu;  // best level first
};

// ---- Which serves what

struct AxisRange {  // of one varying axis, both ends included
  int64_t low, high;
};

// Calls whose axes lie in all of the ranges.
struct BucketRow {
  Rows<AxisRange> ranges;  // one a varying axis, in the signature's order
  uint32_t solution;       // index into SignatureRow::solutions
};

struct HardwareRow {
  const char* hardware;  // DeviceInfo::key; winners are only used there
  Rows<BucketRow> buckets;
};

struct SignatureRow {
  fib_kernels_signature_info info;  // with the parameters it was built with
  Rows<int32_t> input_axes;     // for each input its ndim axes as indices into info.axes, in a row
  Rows<int32_t> output_axes;    // the same for outputs
  Rows<double> own_parameters;  // the signature's own values of info.parameters, which may differ
  Rows<SolutionRow> solutions;
  Rows<HardwareRow> hardware;
  // Tried in this order where no bucket fits, or a winner's plan refuses a shape: solutions that
  // take any shape. By target.
  Rows<uint32_t> cuda_fallback, cpu_fallback;
  // The signature's constraints that name nothing but axes ("len_indptr == batch_size + 1"): calls
  // that break one are refused.
  Rows<const char*> constraints;
};

struct PackageTable {
  uint32_t table_version;  // kTableVersion
  const char* name;        // "fib-kernels"
  const char* version;     // of the package
  const char* manifest;    // manifest.json
  Rows<SignatureRow> signatures;
};

inline constexpr uint32_t kTableVersion = 1;

}  // namespace fib::package

// Defined by the generated source.
extern "C" const fib::package::PackageTable fib_kernels_table;
