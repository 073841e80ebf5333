#include "integrations/package/runtime/cuda_target.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "integrations/package/runtime/cuda_card.h"
#include "integrations/package/runtime/cuda_solution.h"
#include "integrations/package/runtime/targets.h"

namespace fib::package {
namespace {

class CudaTarget final : public Target {
 public:
  explicit CudaTarget(std::unique_ptr<CudaCard> card)
      : card_(std::move(card)), hardware_(hardware_key(card_->facts().name)) {}

  Place place() const override {
    return {kFibKernelsCuda, card_->id(), FIB_KERNELS_CUDA_ALIGNMENT};
  }
  const std::string& hardware() const override { return hardware_; }
  Rows<uint32_t> fallback(const SignatureRow& row) const override { return row.cuda_fallback; }
  bool plans_by_value() const override { return true; }
  bool refuses_at_run() const override { return false; }

  Result<std::unique_ptr<Solution>> load(const OpShape& shape, const SolutionRow& row) override {
    if (row.cuda.plan == nullptr) return nullptr;
    const DeviceBinary* const binary = choose_binary(row.cuda.binaries, card_->facts().plan);
    if (binary == nullptr) return nullptr;
    return load_cuda_solution(*card_, shape, row, *binary);
  }

 private:
  std::unique_ptr<CudaCard> card_;
  std::string hardware_;
};

// How well a binary of the architecture runs on the device; nothing where it doesn't.
std::optional<int> rank(std::string_view architecture, const FibPlanDevice& device) {
  constexpr std::string_view kPrefix = "sm_";
  constexpr int kOfItsOwn = 1 << 20;
  if (!architecture.starts_with(kPrefix)) return std::nullopt;
  architecture.remove_prefix(kPrefix.size());
  int number = 0;
  const char* const end = architecture.data() + architecture.size();
  const auto [rest, error] = std::from_chars(architecture.data(), end, number);
  if (error != std::errc() || number / 10 != device.compute_major) return std::nullopt;
  const int minor = number % 10;
  if (rest == end) return minor <= device.compute_minor ? std::optional(minor) : std::nullopt;
  return *rest == 'a' && minor == device.compute_minor ? std::optional(kOfItsOwn) : std::nullopt;
}

}  // namespace

const DeviceBinary* choose_binary(Rows<DeviceBinary> binaries, const FibPlanDevice& device) {
  const DeviceBinary* best = nullptr;
  std::optional<int> best_rank;
  for (const DeviceBinary& binary : binaries) {
    const std::optional<int> own = rank(binary.architecture, device);
    if (own <= best_rank) continue;  // nothing is below everything
    best = &binary;
    best_rank = own;
  }
  return best;
}

Result<std::unique_ptr<Target>> open_cuda_target(CudaDriverPtr driver, int device_id) {
  return std::make_unique<CudaTarget>(FIB_TRY(CudaCard::open(std::move(driver), device_id)));
}

Result<std::unique_ptr<Target>> open_cuda_target(const fib_kernels_device_options& options) {
  return open_cuda_target(FIB_TRY(CudaDriver::open()), options.device_id);
}

}  // namespace fib::package
