// What is learnt once calls are over: which kernels ran, and how far the kept outputs are from the
// expected values.

#include <algorithm>
#include <cstddef>
#include <numeric>

#include "runners/cuda/device_measure.h"

namespace fib {

bool DeviceMeasure::note_kernels(Contender& contender, const CallRecord& record, TimingMode mode) {
  const auto same = [](const KernelRecord& a, const KernelRecord& b) {
    return a.name == b.name && std::equal(a.grid, a.grid + 3, b.grid) &&
           std::equal(a.block, a.block + 3, b.block);
  };
  const auto [first, is_first] = contender.launches.emplace(mode, record.kernels);
  const std::vector<KernelRecord>& expected = first->second;
  // Kernels that overlap may start in either order.
  if (!std::is_permutation(record.kernels.begin(), record.kernels.end(), expected.begin(),
                           expected.end(), same)) {
    return false;
  }
  if (mode == TimingMode::kCold) {
    contender.kernel_ns.resize(expected.size());
    for (size_t i = 0; i < expected.size(); ++i) {
      contender.kernel_ns[i] += record.kernels[i].duration_ns;
    }
  }
  return true;
}

std::vector<KernelShare> DeviceMeasure::shares_of(const Contender& contender) const {
  const auto cold = contender.launches.find(TimingMode::kCold);
  if (cold == contender.launches.end()) return {};
  const double total =
      std::accumulate(contender.kernel_ns.begin(), contender.kernel_ns.end(), 0.0);
  std::vector<KernelShare> shares;
  for (size_t i = 0; i < cold->second.size(); ++i) {
    const KernelRecord& kernel = cold->second[i];
    KernelShare share{.name = kernel.name,
                      .share = total > 0.0 ? contender.kernel_ns[i] / total : 0.0,
                      .registers = kernel.registers,
                      .shared_bytes = kernel.shared_bytes};
    std::copy_n(kernel.grid, 3, share.grid);
    std::copy_n(kernel.block, 3, share.block);
    shares.push_back(std::move(share));
  }
  return shares;
}

Result<std::vector<KeptStats>> DeviceMeasure::compare(const CompareRequest& request,
                                                      std::span<const std::byte> staging) {
  const CudaDriver& driver = device_.context.driver();
  const CUstream stream = device_.context.stream();
  std::vector<std::pair<uint32_t, const KeptOutput*>> versions;
  for (uint32_t index = 0; index < contenders_.size(); ++index) {
    const auto kept = contenders_[index].kept.find(request.set);
    if (kept == contenders_[index].kept.end()) continue;
    for (const KeptOutput& version : kept->second) versions.emplace_back(index, &version);
  }
  const uint64_t stats_bytes = std::max<size_t>(versions.size(), 1) * sizeof(DeviceErrorStats);
  if (request.first == 0) {
    FIB_CHECK(device_.stats.reserve(stats_bytes));
    FIB_CHECK(driver.check(
        driver.cuMemsetD8Async(device_.stats.address(), 0, stats_bytes, stream), "statistics"));
    for (size_t i = 0; i < versions.size(); ++i) {
      FIB_CHECK(driver.check(
          driver.cuMemsetD8Async(device_.stats.address() + i * sizeof(DeviceErrorStats) +
                                     offsetof(DeviceErrorStats, first_bad_index),
                                 0xFF, sizeof(fib_u64), stream),
          "statistics"));
    }
  }
  const uint64_t bytes = (request.count + request.row_scales) * sizeof(float);
  if (request.count > 0) {
    FIB_CHECK(device_.expected.reserve(kStagingBytes));
    FIB_CHECK(driver.check(
        driver.cuMemcpyHtoDAsync(device_.expected.address(), staging.data(), bytes, stream),
        "upload of expected values"));
    for (size_t i = 0; i < versions.size(); ++i) {
      FIB_CHECK(device_.kernels.compare(
          {.candidate = versions[i].second->address + output_offsets_.at(request.output),
           .expected = device_.expected.address(),
           .row_scale = device_.expected.address() + request.count * sizeof(float),
           .stats = device_.stats.address() + i * sizeof(DeviceErrorStats),
           .first = request.first,
           .count = request.count,
           .row_length = request.row_length,
           .max_error_rms = request.max_error_rms,
           .format = element_format(problem_.outputs.at(request.output).dtype)}));
    }
  }
  std::vector<KeptStats> answer;
  if (request.is_last) {
    std::vector<DeviceErrorStats> stats(versions.size());
    FIB_CHECK(driver.check(
        driver.cuMemcpyDtoHAsync(stats.data(), device_.stats.address(),
                                 versions.size() * sizeof(DeviceErrorStats), stream),
        "statistics"));
    FIB_CHECK(device_.context.wait(problem_.call_timeout_s));
    for (size_t i = 0; i < versions.size(); ++i) answer.push_back({versions[i].first, stats[i]});
    return answer;
  }
  FIB_CHECK(device_.context.wait(problem_.call_timeout_s));
  return answer;
}

Result<size_t> DeviceMeasure::fetch(const FetchRequest& request, std::span<std::byte> staging) {
  const std::vector<KeptOutput>& versions =
      contenders_.at(request.contender).kept.at(request.set);
  const uint64_t bytes = problem_.outputs.at(request.output).bytes;
  if (bytes > staging.size()) {
    return fail(ErrorCode::kResourceExhausted,
                "output '" + problem_.outputs[request.output].name + "' is too large to fetch");
  }
  if (bytes > 0) {
    const CudaDriver& driver = device_.context.driver();
    FIB_CHECK(driver.check(
        driver.cuMemcpyDtoHAsync(
            staging.data(),
            versions.at(request.version).address + output_offsets_.at(request.output), bytes,
            device_.context.stream()),
        "fetching an output"));
    FIB_CHECK(device_.context.wait(problem_.call_timeout_s));
  }
  return versions.size();
}

}  // namespace fib
