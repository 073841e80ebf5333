#include "integrations/package/export/package_version.h"

#include <algorithm>

#include "signatures/base/file.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

constexpr size_t kContentDigits = 8;

// "2026-11-02T10:00:00+01:00" -> "2026.11.2": numbers of a version have no leading zeros.
std::string day_of(const std::string& timestamp) {
  std::string day;
  for (const char c : timestamp.substr(0, timestamp.find('T'))) {
    if (c == '-') {
      day += '.';
    } else if (c != '0' || (!day.empty() && day.back() != '.')) {
      day += c;
    }
  }
  return day;
}

std::string newest_measurement(const PackageSpec& spec) {
  std::string newest;
  for (const PackagedSignature& packaged : spec.signatures) {
    for (const HardwareChoices& hardware : packaged.hardware) {
      for (const BucketChoice& bucket : hardware.buckets) {
        newest = std::max(newest, bucket.evidence.measured);
      }
    }
  }
  return newest;
}

Result<void> add_code(Hasher& hasher, const CompiledSolution& solution) {
  if (solution.plan) hasher.add(FIB_TRY(read_file(solution.plan->file)));
  hasher.add(uint64_t{solution.binaries.size()});
  for (const DeviceCode& code : solution.binaries) hasher.add(code.architecture).add(code.cubin);
  hasher.add(uint64_t{solution.cpu.size()});
  for (const CpuObject& object : solution.cpu) {
    hasher.add(object.level).add(object.flags).add(FIB_TRY(read_file(object.file)));
  }
  return {};
}

}  // namespace

Result<std::string> package_version(const CompiledPackage& package, const std::string& manifest,
                                    const PackageBuildOptions& options) {
  Hasher hasher;
  hasher.add(manifest);
  for (const auto& solutions : package.solutions) {
    for (const CompiledSolution& solution : solutions) FIB_CHECK(add_code(hasher, solution));
  }
  hasher.add(FIB_TRY(read_file(options.runtime_archive)));
  hasher.add(FIB_TRY(read_file(options.c_header)));
  const std::string measured = newest_measurement(package.spec);
  return (measured.empty() ? options.fib_version : day_of(measured)) + "+" +
         hasher.hex().substr(0, kContentDigits);
}

}  // namespace fib
