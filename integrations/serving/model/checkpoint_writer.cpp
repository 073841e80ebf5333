#include "integrations/serving/model/checkpoint_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <system_error>

#include "signatures/base/file.h"
#include "signatures/base/json.h"

namespace fib {
namespace {

constexpr size_t kDataAlignment = 8;

size_t bytes_of(const PlannedTensor& tensor) {
  return storage_bytes(tensor.dtype, std::accumulate(tensor.shape.begin(), tensor.shape.end(),
                                                     int64_t{1}, std::multiplies<>()));
}

// Greedily, in the given order: [first, end) of each shard.
std::vector<std::pair<size_t, size_t>> divide(const std::vector<PlannedTensor>& tensors,
                                              size_t shard_bytes) {
  std::vector<std::pair<size_t, size_t>> shards = {{0, 0}};
  size_t filled = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const size_t bytes = bytes_of(tensors[i]);
    if (filled > 0 && filled + bytes > shard_bytes) {
      shards.emplace_back(i, i);
      filled = 0;
    }
    filled += bytes;
    shards.back().second = i + 1;
  }
  return shards;
}

}  // namespace

struct CheckpointWriter::Shard {
  std::filesystem::path path;
  int fd = -1;

  Shard() = default;
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;
  ~Shard() {
    if (fd >= 0) ::close(fd);
  }

  Failure failure(std::string_view doing) const {
    return fail(ErrorCode::kIo,
                fmt::format("cannot {}: {}", doing, std::generic_category().message(errno)),
                path.string());
  }

  Result<void> write_at(size_t offset, std::span<const std::byte> data) const {
    while (!data.empty()) {
      const ssize_t written = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) return failure("write");
      data = data.subspan(static_cast<size_t>(written));
      offset += static_cast<size_t>(written);
    }
    return {};
  }
};

CheckpointWriter::CheckpointWriter() = default;
CheckpointWriter::CheckpointWriter(CheckpointWriter&&) noexcept = default;
CheckpointWriter& CheckpointWriter::operator=(CheckpointWriter&&) noexcept = default;
CheckpointWriter::~CheckpointWriter() = default;

Result<CheckpointWriter> CheckpointWriter::create(const std::filesystem::path& folder,
                                                  std::vector<PlannedTensor> tensors,
                                                  size_t shard_bytes) {
  CheckpointWriter writer;
  writer.folder_ = folder;
  const auto shards = divide(tensors, shard_bytes);
  for (size_t i = 0; i < shards.size(); ++i) {
    const auto [first, end] = shards[i];
    const std::string name =
        shards.size() == 1 ? "model.safetensors"
                           : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    FIB_CHECK(writer.open_shard(folder / name, std::span(tensors).subspan(first, end - first)));
  }
  if (shards.size() == 1) return writer;

  Json map = Json::object();
  auto& entries = map.get_ref<Json::object_t&>();
  entries.reserve(writer.places_.size());
  for (const auto& [name, place] : writer.places_)
    entries.emplace_back(name, place.shard->path.filename().string());
  const Json index = {{"metadata", {{"total_size", writer.data_bytes_}}}, {"weight_map", map}};
  FIB_CHECK(write_file_atomically(folder / "model.safetensors.index.json",
                                  dump_json_pretty(index) + "\n"));
  return writer;
}

Result<void> CheckpointWriter::open_shard(const std::filesystem::path& path,
                                          std::span<PlannedTensor> tensors) {
  // The widest elements first: then all are aligned, whatever the sizes are.
  std::ranges::stable_sort(tensors, std::greater(),
                           [](const PlannedTensor& tensor) { return bits_of(tensor.dtype); });
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  auto& entries = header.get_ref<Json::object_t&>();
  entries.reserve(tensors.size() + 1);
  size_t end = 0;
  for (const PlannedTensor& tensor : tensors) {
    const size_t bytes = bytes_of(tensor);
    // Not by the key: an ordered object would search all the others for it.
    entries.emplace_back(tensor.name, Json{{"dtype", dtype_safetensors_name(tensor.dtype)},
                                           {"shape", tensor.shape},
                                           {"data_offsets", {end, end + bytes}}});
    end += bytes;
  }
  std::string text = dump_json(header);
  text.append((kDataAlignment - text.size() % kDataAlignment) % kDataAlignment, ' ');
  const uint64_t header_bytes = text.size();
  const size_t data_start = sizeof header_bytes + text.size();

  auto shard = std::make_unique<Shard>();
  shard->path = path;
  shard->fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (shard->fd < 0) return shard->failure("create");
  if (::ftruncate(shard->fd, static_cast<off_t>(data_start + end)) != 0)
    return shard->failure("set the size");
  FIB_CHECK(shard->write_at(0, std::as_bytes(std::span(&header_bytes, 1))));
  FIB_CHECK(shard->write_at(sizeof header_bytes, std::as_bytes(std::span(text))));

  size_t offset = data_start;
  for (const PlannedTensor& tensor : tensors) {
    const size_t bytes = bytes_of(tensor);
    if (!places_.emplace(tensor.name, Place{shard.get(), offset, bytes}).second)
      throw std::logic_error("planned twice: " + tensor.name);
    offset += bytes;
  }
  data_bytes_ += end;
  shards_.push_back(std::move(shard));
  return {};
}

Result<void> CheckpointWriter::write(std::string_view name, std::span<const std::byte> data) const {
  const auto place = places_.find(name);
  if (place == places_.end() || place->second.size != data.size())
    throw std::logic_error("not planned so: " + std::string(name));
  return place->second.shard->write_at(place->second.offset, data);
}

Result<void> CheckpointWriter::finish() const {
  for (const auto& shard : shards_)
    if (::fsync(shard->fd) != 0) return shard->failure("sync");
  return {};
}

}  // namespace fib
