#include "runners/cpu/input_images.h"

#include <algorithm>

#include "harness/thread_pool.h"

namespace fib {
namespace {

constexpr size_t kLargeWeight = 64 << 10;
constexpr size_t kLargeInput = 16 << 20;

}  // namespace

bool InputImages::is_shared(const TensorDesc& input) {
  return !input.is_host_scalar &&
         input.size_bytes() >= (input.is_weight ? kLargeWeight : kLargeInput);
}

size_t InputImages::image_bytes(const Problem& problem, size_t sets) {
  size_t bytes = 0;
  for (const TensorDesc& input : problem.inputs) {
    if (!input.is_host_scalar && !is_shared(input)) bytes += input.size_bytes();
  }
  return bytes * sets;
}

InputImages::InputImages(const Problem& problem, const std::vector<InputSet>& sets, int threads)
    : problem_(problem), sets_(sets), threads_(threads), images_(sets.size()) {
  for (size_t set = 0; set < sets.size(); ++set) {
    images_[set].resize(problem.inputs.size());
    for (size_t input = 0; input < problem.inputs.size(); ++input) {
      const TensorDesc& desc = problem.inputs[input];
      if (desc.is_host_scalar || is_shared(desc)) continue;
      images_[set][input].resize(desc.size_bytes());
      write(set, input, images_[set][input]);
    }
  }
}

std::span<const std::byte> InputImages::image(size_t set, size_t input) const {
  return images_[set][input];
}

void InputImages::write(size_t set, size_t input, std::span<std::byte> out) const {
  const InputValue& value = sets_[set].values[input];
  if (const auto* bytes = std::get_if<InputBytes>(&value.source)) {
    std::copy((*bytes)->begin(), (*bytes)->end(), out.begin());
    return;
  }
  const auto& generated = std::get<Generated>(value.source);
  const DType dtype = problem_.inputs[input].dtype;
  // Pieces start at even elements, so that two float4 values of one byte are written together.
  constexpr int64_t kPiece = 1 << 16;
  const int64_t count = problem_.inputs[input].num_elements();
  parallel_on(threads_)((count + kPiece - 1) / kPiece, [&](int64_t begin, int64_t end) {
    const int64_t first = begin * kPiece;
    fill_generated(generated, dtype, first, std::min(end * kPiece, count) - first,
                   out.data() + storage_bytes(dtype, first));
  });
}

}  // namespace fib
