#pragma once

// Writes a checkpoint whose tensors are known beforehand and come in any order, from any thread:
// each is put at its place in its shard, none is kept.

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

struct PlannedTensor {
  std::string name;
  DType dtype = DType::kBFloat16;
  std::vector<int64_t> shape;
};

class CheckpointWriter {
 public:
  // Shards of at most `shard_bytes` of data, but for one that holds a single larger tensor. One
  // shard is model.safetensors; more are model-00001-of-00003.safetensors and so on, with an index.
  // `folder` exists and belongs to the writer alone.
  static Result<CheckpointWriter> create(const std::filesystem::path& folder,
                                         std::vector<PlannedTensor> tensors, size_t shard_bytes);
  CheckpointWriter(CheckpointWriter&&) noexcept;
  CheckpointWriter& operator=(CheckpointWriter&&) noexcept;
  ~CheckpointWriter();

  // Once for each planned tensor, with all its bytes.
  Result<void> write(std::string_view name, std::span<const std::byte> data) const;
  // After the last write: all is on the disk.
  Result<void> finish() const;
  size_t data_bytes() const { return data_bytes_; }

 private:
  struct Shard;
  struct Place {
    const Shard* shard;
    size_t offset, size;  // bytes, in the file
  };
  CheckpointWriter();
  Result<void> open_shard(const std::filesystem::path& path, std::span<PlannedTensor> tensors);

  std::filesystem::path folder_;
  std::vector<std::unique_ptr<const Shard>> shards_;
  std::map<std::string, Place, std::less<>> places_;
  size_t data_bytes_ = 0;
};

}  // namespace fib
