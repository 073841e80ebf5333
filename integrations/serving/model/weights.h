#pragma once

// A model's weights on the device, under the names of weight_specs().

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "integrations/package/device.h"
#include "integrations/serving/model/checkpoint.h"

namespace fib {

class Weights {
 public:
  using Progress = std::function<void(size_t done_bytes, size_t total_bytes)>;

  // Copies the checkpoint's tensors, stacked as the specs say. The checkpoint has passed
  // check_weights.
  static Result<Weights> load(ServingDevice& device, const std::vector<WeightSpec>& specs,
                              const Checkpoint& checkpoint, const Progress& progress);
  // Random ones of plausible size, for measuring a model without having it.
  static Result<Weights> dummy(ServingDevice& device, const std::vector<WeightSpec>& specs,
                               uint64_t seed, const Progress& progress);

  std::byte* at(const std::string& name) const;  // throws std::logic_error: our own misspelling
  bool has(const std::string& name) const { return arrays_.contains(name); }
  size_t bytes() const { return bytes_; }

 private:
  Result<std::byte*> add(ServingDevice& device, const WeightSpec& spec);
  std::map<std::string, DeviceArray, std::less<>> arrays_;
  size_t bytes_ = 0;
};

}  // namespace fib
