#include "workloads/inputs.h"

#include <cstring>
#include <utility>

namespace fib {
namespace {

class BytesSource final : public TensorSource {
 public:
  BytesSource(TensorDesc desc, InputBytes bytes)
      : desc_(std::move(desc)), bytes_(std::move(bytes)) {}

  const TensorDesc& desc() const override { return desc_; }
  void read(int64_t first, std::span<float> out) const override {
    load_floats(desc_.dtype, bytes_->data(), first, out);
  }
  void read(int64_t first, std::span<int64_t> out) const override {
    for (size_t i = 0; i < out.size(); ++i) {
      out[i] = integer_at(first + static_cast<int64_t>(i));
    }
  }
  void read_bytes(int64_t first_byte, std::span<std::byte> out) const override {
    std::memcpy(out.data(), bytes_->data() + first_byte, out.size());
  }
  double scalar() const override { return load_element(desc_.dtype, bytes_->data(), 0); }

 private:
  int64_t integer_at(int64_t index) const {
    if (desc_.dtype != DType::kInt64) {
      return static_cast<int64_t>(load_element(desc_.dtype, bytes_->data(), index));
    }
    int64_t value;  // a double would lose the low bits
    std::memcpy(&value, bytes_->data() + index * 8, sizeof value);
    return value;
  }

  TensorDesc desc_;
  InputBytes bytes_;
};

class ScalarSource final : public TensorSource {
 public:
  ScalarSource(TensorDesc desc, double value) : desc_(std::move(desc)), value_(value) {}

  const TensorDesc& desc() const override { return desc_; }
  void read(int64_t, std::span<float> out) const override {
    for (float& element : out) element = static_cast<float>(value_);
  }
  void read(int64_t, std::span<int64_t> out) const override {
    for (int64_t& element : out) element = static_cast<int64_t>(value_);
  }
  void read_bytes(int64_t first_byte, std::span<std::byte> out) const override {
    std::byte stored[8] = {};
    store_element(desc_.dtype, stored, 0, value_);
    std::memcpy(out.data(), stored + first_byte, out.size());
  }
  double scalar() const override { return value_; }

 private:
  TensorDesc desc_;
  double value_;
};

}  // namespace

InputSet with_seed(const InputPlan& plan, uint64_t seed) {
  InputSet set = {plan.structure, seed};
  for (InputValue& value : set.values) {
    if (auto* generated = std::get_if<Generated>(&value.source)) generated->seed = seed;
  }
  return set;
}

std::vector<std::unique_ptr<TensorSource>> open_sources(const InputSet& inputs) {
  std::vector<std::unique_ptr<TensorSource>> sources;
  for (const InputValue& value : inputs.values) {
    if (const auto* generated = std::get_if<Generated>(&value.source)) {
      sources.push_back(generated_source(value.desc, *generated));
    } else if (const auto* bytes = std::get_if<InputBytes>(&value.source)) {
      sources.push_back(std::make_unique<BytesSource>(value.desc, *bytes));
    } else {
      sources.push_back(std::make_unique<ScalarSource>(value.desc, std::get<double>(value.source)));
    }
  }
  return sources;
}

}  // namespace fib
