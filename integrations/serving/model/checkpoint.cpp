#include "integrations/serving/model/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "signatures/base/file.h"
#include "signatures/base/json.h"
#include "signatures/base/suggest.h"

namespace fib {
namespace {

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";
constexpr int kNamesShown = 3;

std::string describe(DType dtype, const std::vector<int64_t>& shape) {
  return fmt::format("{} [{}]", dtype_name(dtype), fmt::join(shape, ", "));
}

// The nearest names, the likeliest first.
std::vector<std::string_view> nearest_names(std::string_view name,
                                            std::vector<std::string_view> candidates) {
  std::vector<std::string_view> nearest;
  while (nearest.size() < kNamesShown) {
    const auto found = nearest_word(name, candidates);
    if (!found) break;
    nearest.push_back(*found);
    std::erase(candidates, *found);
  }
  return nearest;
}

// Tensor -> shard, as the index has it.
Result<std::map<std::string, std::string>> read_index(const std::filesystem::path& path) {
  const Json json = FIB_TRY(read_json_file(path));
  const JsonView index(json, path.string());
  const JsonView map = FIB_TRY(index.at("weight_map"));
  std::map<std::string, std::string> shard_of;
  for (const auto& [name, view] : FIB_TRY(map.object())) {
    const std::string shard = FIB_TRY(view.non_empty_string());
    if (!is_safe_relative_path(shard))
      return view.error(fmt::format("'{}' leads out of the checkpoint's folder", shard));
    shard_of.emplace(name, shard);
  }
  if (shard_of.empty()) return map.error("names no tensor");
  return shard_of;
}

}  // namespace

Result<Checkpoint> Checkpoint::open(const std::filesystem::path& folder) {
  Checkpoint checkpoint;
  checkpoint.folder_ = folder.string();
  const std::filesystem::path index_path = folder / kIndexFile;
  const bool has_index = std::filesystem::exists(index_path);
  if (!has_index && !std::filesystem::exists(folder / kSingleFile))
    return fail(ErrorCode::kNotFound, fmt::format("neither {} nor {}", kSingleFile, kIndexFile),
                folder.string(),
                "name the folder of a Hugging Face checkpoint in safetensors form");

  std::map<std::string, std::string> shard_of;
  std::set<std::string> shards = {std::string(kSingleFile)};
  if (has_index) {
    shard_of = FIB_TRY(read_index(index_path));
    shards.clear();
    for (const auto& [name, shard] : shard_of) shards.insert(shard);
  }

  std::map<std::string_view, std::string> found_in;
  for (const std::string& shard : shards) {
    const std::filesystem::path path = folder / shard;
    Result<SafetensorsFile> file = SafetensorsFile::open(path);
    if (!file && file.error().code == ErrorCode::kNotFound)
      return fail(ErrorCode::kNotFound, "a shard that the index names is not there", path.string(),
                  fmt::format("fetch it, or remove {}", index_path.string()));
    if (!file) return fail(std::move(file).error());
    for (const StoredTensor& tensor : file->tensors()) {
      const auto [entry, is_new] = checkpoint.tensors_.emplace(tensor.name, tensor);
      if (!is_new)
        return fail(ErrorCode::kInvalidInput,
                    fmt::format("tensor '{}' is in {} too", tensor.name, found_in[entry->first]),
                    path.string());
      found_in.emplace(entry->first, shard);
      const auto expected = shard_of.find(tensor.name);
      if (has_index && expected == shard_of.end())
        return fail(ErrorCode::kInvalidInput,
                    fmt::format("tensor '{}' is not in the index", tensor.name), path.string());
      if (has_index && expected->second != shard)
        return fail(ErrorCode::kInvalidInput,
                    fmt::format("tensor '{}' is here, the index has it in {}", tensor.name,
                                expected->second),
                    path.string());
    }
    checkpoint.files_.push_back(*std::move(file));
  }
  for (const auto& [name, shard] : shard_of)
    if (!checkpoint.find(name))
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("tensor '{}', which the index has here, is not", name),
                  (folder / shard).string(), "the shard is of another checkpoint: fetch it again");
  return checkpoint;
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

Result<StoredTensor> Checkpoint::tensor(std::string_view name, DType dtype,
                                        const std::vector<int64_t>& shape) const {
  const StoredTensor* found = find(name);
  if (found == nullptr) {
    std::vector<std::string_view> candidates;
    for (const auto& [known, tensor] : tensors_) candidates.push_back(known);
    const auto nearest = nearest_names(name, std::move(candidates));
    return fail(ErrorCode::kNotFound, fmt::format("no tensor '{}'", name), folder_,
                nearest.empty() ? "" : fmt::format("the nearest are {}", fmt::join(nearest, ", ")));
  }
  if (found->dtype != dtype || found->shape != shape)
    return fail(ErrorCode::kInvalidInput,
                fmt::format("tensor '{}' is {}, not {}", name, describe(found->dtype, found->shape),
                            describe(dtype, shape)),
                folder_);
  return *found;
}

}  // namespace fib
