#pragma once

// What a package is to contain: signatures, the solutions that serve them, and why. Made by
// selection (winners.h) or from the house's solutions alone; built by build_package.h.

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "signatures/signature.h"
#include "signatures/trace.h"

namespace fib {

// Of one varying axis, both ends included.
struct AxisInterval {
  std::string axis;
  int64_t low = 0;
  int64_t high = std::numeric_limits<int64_t>::max();
};

// The measurement that a bucket's winner won by; goes into the manifest.
struct Evidence {
  std::vector<int64_t> verdicts;  // ids in the store
  std::vector<std::string> workloads;
  double speedup = 0.0, speedup_low = 0.0, speedup_high = 0.0;  // over the fallback, 95 %
  std::string incumbent;
  std::string measured;  // local ISO 8601, the newest
  // fib headers of the solutions compared that are others today; nullopt: verdicts don't tell.
  std::optional<std::vector<std::string>> changed_headers;
};

struct BucketChoice {
  std::vector<AxisInterval> where;  // axes that vary; one that isn't named is open
  size_t solution = 0;              // index into PackagedSignature::solutions
  Evidence evidence;
  std::string reason;  // "1.42x over gemm-dots on 3 workloads, confirmed"
};

struct HardwareChoices {
  std::string hardware;  // DeviceInfo::key
  std::string target;
  std::vector<BucketChoice> buckets;  // disjoint
};

struct PackagedSignature {
  SignaturePtr signature;              // with the parameters it is built with
  std::vector<double> own_parameters;  // the signature's own values, in the order of its parameters
  std::vector<Solution> solutions;     // distinct, of any target
  std::vector<HardwareChoices> hardware;
  // By target, tried in order: indices of solutions that take any shape.
  std::vector<size_t> cuda_fallback, cpu_fallback;
};

struct PackageSpec {
  std::string name = "fib-kernels";
  std::string version;                          // "2026.11.22"; empty: made of what is in it
  std::vector<PackagedSignature> signatures;    // distinct by name and parameters
  std::vector<std::string> cuda_architectures;  // "sm_90a"; empty: no device code
  std::vector<std::string> cpu_levels;          // "native", "x86-64-v3", ...; empty: no host code
  // Goes into the manifest as it is: "the house's solutions", "fib.db, policy confirmed, ...". Two
  // packages that differ in nothing else differ in their bytes.
  std::string created_from;
};

}  // namespace fib
