#include "integrations/serving/model/weights.h"

#include <cmath>
#include <numeric>
#include <stdexcept>

namespace fib {
namespace {

int64_t elements(const std::vector<int64_t>& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

size_t bytes_of(const WeightSpec& spec) {
  return storage_bytes(spec.dtype, elements(spec.shape));
}

size_t total_bytes(const std::vector<WeightSpec>& specs) {
  size_t total = 0;
  for (const WeightSpec& spec : specs) total += bytes_of(spec);
  return total;
}

// Keeps activations of unit variance: uniform in [-s, s) has variance s^2 / 3. Norms are vectors and
// get values around one half; packed words (not bfloat16) are random bits.
float dummy_scale(const WeightSpec& spec) {
  if (spec.dtype != DType::kBFloat16) return 0.0f;
  if (spec.shape.size() < 2) return 1.0f;
  constexpr float kInt4Rms = 4.6f;     // of a random nibble minus eight
  constexpr int64_t kGroup = 32;       // columns a scale
  const bool is_scale = spec.name.ends_with("_scale");
  const int64_t columns = spec.shape.back() * (is_scale ? kGroup : 1);
  const float scale = std::sqrt(3.0f / static_cast<float>(columns));
  return is_scale ? scale / kInt4Rms : scale;
}

}  // namespace

Result<std::byte*> Weights::add(ServingDevice& device, const WeightSpec& spec) {
  DeviceArray array = FIB_TRY(device.allocate(bytes_of(spec)));
  bytes_ += array.bytes();
  std::byte* data = array.data();
  arrays_.emplace(spec.name, std::move(array));
  return data;
}

Result<Weights> Weights::load(ServingDevice& device, const std::vector<WeightSpec>& specs,
                              const Checkpoint& checkpoint, const Progress& progress) {
  Weights weights;
  const size_t total = total_bytes(specs);
  for (const WeightSpec& spec : specs) {
    std::byte* to = FIB_TRY(weights.add(device, spec));
    for (const WeightSpec::Part& part : spec.parts) {
      const StoredTensor tensor =
          FIB_TRY(checkpoint.tensor(part.tensor, spec.dtype, part.shape));
      FIB_CHECK(device.upload(to, tensor.data.data(), tensor.data.size()));
      to += tensor.data.size();
    }
    // The mapping's pages may be dropped again once they are over.
    FIB_CHECK(device.synchronize());
    if (progress) progress(weights.bytes_, total);
  }
  return weights;
}

Result<Weights> Weights::dummy(ServingDevice& device, const std::vector<WeightSpec>& specs,
                               uint64_t seed, const Progress& progress) {
  Weights weights;
  const size_t total = total_bytes(specs);
  for (const WeightSpec& spec : specs) {
    std::byte* to = FIB_TRY(weights.add(device, spec));
    FIB_CHECK(device.fill_random(to, bytes_of(spec), dummy_scale(spec), seed++));
    if (progress) progress(weights.bytes_, total);
  }
  return weights;
}

std::byte* Weights::at(const std::string& name) const {
  const auto found = arrays_.find(name);
  if (found == arrays_.end()) throw std::logic_error("the model has no weight '" + name + "'");
  return found->second.data();
}

}  // namespace fib
