#pragma once

// The safetensors format: 8-byte little-endian header length, a JSON header mapping names to
// {dtype, shape, data_offsets}, then the bytes. Files are mapped, never copied.

#include <cstddef>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/dtype.h"
#include "signatures/base/result.h"

namespace fib {

struct StoredTensor {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;          // row-major
  std::span<const std::byte> data;     // inside the mapping, valid while the file is alive
};

class SafetensorsFile {
 public:
  // Refused with a located error: a Git LFS pointer (named as such, with the remedy), a truncated
  // file, a header that is too long or not JSON, unknown dtypes, offsets that overlap, leave holes
  // or run past the end, shapes that disagree with their byte range.
  static Result<SafetensorsFile> open(const std::filesystem::path& file);

  const std::vector<StoredTensor>& tensors() const;
  Result<StoredTensor> tensor(std::string_view name) const;  // error lists the names there are
  const std::map<std::string, std::string>& metadata() const;

 private:
  struct Mapping;
  std::shared_ptr<const Mapping> mapping_;
};

// Writes atomically; the header is padded so that data starts at a multiple of 8 bytes.
Result<void> write_safetensors(const std::filesystem::path& file,
                               const std::vector<StoredTensor>& tensors,
                               const std::map<std::string, std::string>& metadata = {});

}  // namespace fib
