#include "integrations/package/shadow.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "harness/compare.h"
#include "integrations/package/call_shape.h"

namespace fib {
namespace {

constexpr size_t kMostComparedBytes = size_t{4}
                                      << 20;  // of an output, so that a step isn't held up
constexpr size_t kAlignment = 256;
constexpr int kUnwritten = 0xFF;  // NaN as floating values, -1 as integers

// Both kernels may be off the exact value by the tolerance, each to its own side.
constexpr double kBothSides = 2.0;

size_t bytes_of(const TensorSpec& spec, const Operand& operand) {
  return spec.shape ? storage_bytes(spec.dtype, num_elements(operand)) : 0;
}

std::optional<size_t> input_index(const Signature& signature, std::string_view name) {
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    if (signature.inputs[i].name == name) return i;
  }
  return std::nullopt;
}

// The input that an output lies in, if it has no memory of its own.
std::optional<size_t> in_place_of(const Signature& signature, const TensorSpec& output) {
  const auto found = signature.fib.in_place.find(output.name);
  if (found == signature.fib.in_place.end()) return std::nullopt;
  return input_index(signature, found->second);
}

// The input that says which rows of `cache`, [pages, slots of a page, ...], are written.
std::optional<size_t> slots_of(const Signature& signature, const TensorSpec& cache) {
  if (!cache.shape || cache.shape->size() < 2) return std::nullopt;
  const std::string limit = (*cache.shape)[0] + " * " + (*cache.shape)[1];
  const Axis* pages = signature.find_axis((*cache.shape)[0]);
  if (pages == nullptr || pages->kind != Axis::Kind::kVar) return std::nullopt;
  for (const auto& [name, synthesis] : signature.fib.synthesis) {
    if (synthesis.kind != Synthesis::Kind::kSlots || synthesis.limit != limit) continue;
    const TensorSpec* slots = signature.find_input(name);
    if (slots != nullptr && slots->dtype == DType::kInt32) return input_index(signature, name);
  }
  return std::nullopt;
}

Tolerance tolerance_of(const Signature& signature, const std::string& output) {
  const auto found = signature.fib.tolerances.find(output);
  return found == signature.fib.tolerances.end() ? Tolerance{} : found->second;
}

std::string describe(const TensorSpec& output, const ErrorStats& stats, double bound) {
  const int64_t bad = stats.nonfinite_mismatches + stats.elements_over_bound;
  const std::string counts =
      fmt::format("output '{}': {} of {} elements compared differ", output.name, bad, stats.count);
  if (stats.elements_over_bound == 0) return counts + " in being finite";
  if (is_integer(output.dtype)) return counts;
  return counts + fmt::format(" by more than {:.2g} of their row's RMS, the worst by {:.2g}", bound,
                              stats.max_normalised_error);
}

}  // namespace

void ShadowRun::release() {
  scratch_ = {};
  own_slots_ = {};
}

Result<void> ShadowRun::read_slots(const Operand& slots) {
  const auto count = static_cast<size_t>(num_elements(slots));
  slots_.resize(count);
  if (slots.host != nullptr) {
    std::memcpy(slots_.data(), slots.host, count * sizeof(int32_t));
  } else {
    FIB_CHECK(device_.download(reinterpret_cast<std::byte*>(slots_.data()), slots.data,
                               count * sizeof(int32_t)));
    FIB_CHECK(device_.synchronize());
  }
  // In reverse, so that a kernel which doesn't look at them is found out.
  reversed_.resize(count);
  std::iota(reversed_.rbegin(), reversed_.rend(), 0);
  if (own_slots_.bytes() < count * sizeof(int32_t)) {
    own_slots_ = {};
    own_slots_ = FIB_TRY(device_.allocate(count * sizeof(int32_t)));
  }
  return device_.upload(own_slots_.data(), reinterpret_cast<const std::byte*>(reversed_.data()),
                        count * sizeof(int32_t));
}

Result<void> ShadowRun::lay_out(const Signature& signature, const KernelCall& call) {
  inputs_.assign(call.inputs.begin(), call.inputs.end());
  outputs_.clear();
  std::vector<size_t> offsets;
  size_t size = 0;
  bool has_own_slots = false;
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    const TensorSpec& spec = signature.outputs[i];
    Output output{.operand = call.outputs[i]};
    if (const auto slots = slots_of(signature, spec); slots && in_place_of(signature, spec)) {
      if (!std::exchange(has_own_slots, true)) {
        FIB_CHECK(read_slots(call.inputs[*slots]));
        inputs_[*slots].data = own_slots_.data();
        inputs_[*slots].host = reversed_.data();
      }
      const int64_t slots_a_page = std::max<int64_t>(output.operand.shape[1], 1);
      const auto count = static_cast<int64_t>(slots_.size());
      output.operand.shape[0] = std::max<int64_t>((count + slots_a_page - 1) / slots_a_page, 1);
      output.is_slots = true;
    }
    offsets.push_back(size);
    size += (bytes_of(spec, output.operand) + kAlignment - 1) / kAlignment * kAlignment;
    outputs_.push_back(output);
  }
  if (scratch_.bytes() < size) {
    scratch_ = {};
    scratch_ = FIB_TRY(device_.allocate(size));
  }
  for (size_t i = 0; i < outputs_.size(); ++i)
    outputs_[i].operand.data = scratch_.data() + offsets[i];
  return {};
}

Result<void> ShadowRun::run(Kernel& kernel, const KernelCall& call) {
  const Signature& signature = kernel.signature();
  FIB_CHECK(lay_out(signature, call));
  FIB_CHECK(device_.fill(scratch_.data(), kUnwritten, scratch_.bytes()));
  std::vector<Operand> outputs;
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const Operand& own = outputs_[i].operand;
    outputs.push_back(own);
    const auto input = in_place_of(signature, signature.outputs[i]);
    if (!input) continue;
    if (!outputs_[i].is_slots) {
      FIB_CHECK(
          device_.copy(own.data, call.inputs[*input].data, bytes_of(signature.outputs[i], own)));
    }
    inputs_[*input] = own;
  }
  KernelCall shadow = call;
  shadow.inputs = inputs_;
  shadow.outputs = outputs;
  return kernel.run(shadow);
}

ShadowRun::Window ShadowRun::window_of(const Signature& signature, size_t output,
                                       const KernelCall& call) const {
  const TensorSpec& spec = signature.outputs[output];
  const Operand& operand = call.outputs[output];
  // A row is what one slot holds, or the last axis.
  const int first_axis = outputs_[output].is_slots ? 2 : std::max(operand.rank - 1, 0);
  int64_t length = 1, rows = 1;
  for (int d = 0; d < operand.rank; ++d) (d < first_axis ? rows : length) *= operand.shape[d];
  if (outputs_[output].is_slots) rows = static_cast<int64_t>(slots_.size());
  Window window{.row_bytes = storage_bytes(spec.dtype, length)};
  if (window.row_bytes == 0) return window;
  const auto most =
      std::max<int64_t>(static_cast<int64_t>(kMostComparedBytes / window.row_bytes), 1);
  window.rows = std::min(rows, most);
  if (rows > window.rows) {
    window.first = std::min(num_compared_ * window.rows % rows, rows - window.rows);
  }
  return window;
}

// Into serving_bytes_ and shadow_bytes_, both in the order of the call's rows.
Result<void> ShadowRun::fetch(const KernelCall& call, size_t output, const Window& window) {
  serving_bytes_.resize(window.bytes());
  shadow_bytes_.resize(window.bytes());
  const Output& own = outputs_[output];
  const std::byte* serving = call.outputs[output].data;
  if (!own.is_slots) {
    FIB_CHECK(device_.download(serving_bytes_.data(), serving + window.offset(), window.bytes()));
    FIB_CHECK(
        device_.download(shadow_bytes_.data(), own.operand.data + window.offset(), window.bytes()));
    return device_.synchronize();
  }
  const int64_t end = window.first + window.rows;
  const auto from_reversed = static_cast<size_t>(static_cast<int64_t>(slots_.size()) - end);
  FIB_CHECK(device_.download(shadow_bytes_.data(),
                             own.operand.data + from_reversed * window.row_bytes, window.bytes()));
  // Tokens of one sequence lie in a row: one copy for each run of slots.
  for (int64_t row = window.first, next = row; row < end; row = next) {
    while (next < end && slots_[next] == slots_[row] + (next - row)) ++next;
    FIB_CHECK(device_.download(
        serving_bytes_.data() + static_cast<size_t>(row - window.first) * window.row_bytes,
        serving + static_cast<size_t>(slots_[row]) * window.row_bytes,
        static_cast<size_t>(next - row) * window.row_bytes));
  }
  FIB_CHECK(device_.synchronize());
  for (int64_t low = 0, high = window.rows - 1; low < high; ++low, --high) {
    const auto at = [&](int64_t row) {
      return shadow_bytes_.begin() + row * static_cast<int64_t>(window.row_bytes);
    };
    std::swap_ranges(at(low), at(low + 1), at(high));
  }
  return {};
}

Result<std::optional<std::string>> ShadowRun::compare(const Signature& signature,
                                                      const KernelCall& call, Trusted trusted) {
  const ParallelFor here = [](int64_t count, const auto& body) { body(0, count); };
  for (size_t i = 0; i < outputs_.size(); ++i) {
    const TensorSpec& spec = signature.outputs[i];
    const Window window = window_of(signature, i, call);
    if (window.bytes() == 0) continue;
    FIB_CHECK(fetch(call, i, window));
    const bool trusts_serving = trusted == Trusted::kServing;
    const std::vector<std::byte>& known = trusts_serving ? serving_bytes_ : shadow_bytes_;
    const std::vector<std::byte>& asked = trusts_serving ? shadow_bytes_ : serving_bytes_;
    FloatBuffer values(window.bytes() * 8 / static_cast<size_t>(bits_of(spec.dtype)));
    load_floats(spec.dtype, known.data(), 0, {values.data(), values.size()});
    const Operand& operand = call.outputs[i];
    const int64_t row_length = operand.rank > 0 ? operand.shape[operand.rank - 1] : 1;
    ReferenceValues reference = make_reference_values(std::move(values), row_length, here);
    const Tolerance tolerance = tolerance_of(signature, spec.name);
    // Draws of the same uniforms from the same distribution are the same.
    if (!is_floating(spec.dtype)) accept_only_exact(reference);
    const double bound = kBothSides * tolerance.max_error_rms;
    const ErrorStats stats = compare_output(spec.dtype, asked, reference, bound, here);
    if (stats.nonfinite_mismatches + stats.elements_over_bound > 0) {
      return describe(spec, stats, bound);
    }
  }
  ++num_compared_;
  return std::nullopt;
}

}  // namespace fib
