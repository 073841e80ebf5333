#include "signatures/base/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <set>
#include <system_error>

#include "signatures/base/file.h"
#include "signatures/base/json.h"
#include "signatures/base/suggest.h"

namespace fib {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr size_t kDataAlignment = 8;
constexpr uint64_t kLongestHeader = 100'000'000;  // the limit of the format's own library
constexpr std::string_view kMetadataKey = "__metadata__";
constexpr std::string_view kLfsPointerStart = "version https://git-lfs.github.com/spec/";

// Bytes of a tensor of `shape`; nothing where the product leaves int64.
std::optional<size_t> bytes_of_shape(DType dtype, const std::vector<int64_t>& shape) {
  int64_t count = 1;
  for (int64_t extent : shape)
    if (__builtin_mul_overflow(count, extent, &count)) return std::nullopt;
  if (count > std::numeric_limits<int64_t>::max() / 8) return std::nullopt;
  return storage_bytes(dtype, count);
}

struct Range {
  size_t begin = 0;
  size_t end = 0;
};

Result<Range> read_range(const JsonView& view, size_t data_bytes) {
  const std::vector<JsonView> offsets = FIB_TRY(view.array());
  if (offsets.size() != 2)
    return view.error(fmt::format("expected [begin, end], found {} numbers", offsets.size()));
  const int64_t begin = FIB_TRY(offsets[0].integer());
  const int64_t end = FIB_TRY(offsets[1].integer());
  if (begin < 0 || end < begin)
    return view.error(fmt::format("[{}, {}] is not a range of bytes", begin, end));
  if (static_cast<uint64_t>(end) > data_bytes)
    return view.error(fmt::format("[{}, {}] runs past the end of the file's {} data bytes", begin,
                                  end, data_bytes),
                      "the file is truncated: fetch it again");
  return Range{static_cast<size_t>(begin), static_cast<size_t>(end)};
}

Result<StoredTensor> read_tensor(const std::string& name, const JsonView& view,
                                 std::span<const std::byte> data) {
  FIB_CHECK(view.only_keys({"dtype", "shape", "data_offsets"}));
  StoredTensor tensor{.name = name};

  const JsonView dtype = FIB_TRY(view.at("dtype"));
  const std::string dtype_name = FIB_TRY(dtype.string());
  const std::optional<DType> known = dtype_from_safetensors_name(dtype_name);
  if (!known) return dtype.error(fmt::format("unknown dtype '{}'", dtype_name));
  tensor.dtype = *known;

  const JsonView shape = FIB_TRY(view.at("shape"));
  for (const JsonView& extent : FIB_TRY(shape.array())) {
    tensor.shape.push_back(FIB_TRY(extent.integer()));
    if (tensor.shape.back() < 0) return extent.error("an extent cannot be negative");
  }
  const std::optional<size_t> bytes = bytes_of_shape(tensor.dtype, tensor.shape);
  if (!bytes) return shape.error("the shape has more elements than can be counted");

  const JsonView offsets = FIB_TRY(view.at("data_offsets"));
  const Range range = FIB_TRY(read_range(offsets, data.size()));
  if (range.end - range.begin != *bytes)
    return offsets.error(fmt::format("{} bytes are given, {} [{}] takes {}",
                                     range.end - range.begin, dtype_name,
                                     fmt::join(tensor.shape, ", "), *bytes));
  tensor.data = data.subspan(range.begin, *bytes);
  return tensor;
}

// The format wants every data byte to belong to exactly one tensor.
Result<void> check_coverage(const std::vector<StoredTensor>& tensors,
                            std::span<const std::byte> data, const std::string& where) {
  std::vector<const StoredTensor*> ordered;
  for (const StoredTensor& tensor : tensors) ordered.push_back(&tensor);
  std::ranges::stable_sort(ordered, {}, [](const StoredTensor* tensor) {
    return std::pair(tensor->data.data(), tensor->data.size());
  });
  const std::byte* covered = data.data();
  for (const StoredTensor* tensor : ordered) {
    if (tensor->data.data() != covered) {
      const bool hole = tensor->data.data() > covered;
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("the bytes of tensor '{}' {} the tensor before it", tensor->name,
                              hole ? "leave a hole after" : "overlap"),
                  where);
    }
    covered += tensor->data.size();
  }
  const size_t rest = static_cast<size_t>(data.data() + data.size() - covered);
  if (rest != 0)
    return fail(ErrorCode::kInvalidInput,
                fmt::format("the last {} bytes belong to no tensor", rest), where);
  return {};
}

}  // namespace

struct SafetensorsFile::Mapping {
  std::string path;
  std::span<const std::byte> bytes;
  std::vector<StoredTensor> tensors;
  std::map<std::string, size_t, std::less<>> index;
  std::map<std::string, std::string> metadata;

  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() {
    if (!bytes.empty()) ::munmap(const_cast<std::byte*>(bytes.data()), bytes.size());
  }

  Result<void> map();
  Result<void> parse();
  Failure refuse(std::string message, std::string remedy = {}) const {
    return fail(ErrorCode::kInvalidInput, std::move(message), path, std::move(remedy));
  }
};

Result<void> SafetensorsFile::Mapping::map() {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
    return fail(ErrorCode::kNotFound, "no such file", path);
  int error = fd < 0 ? errno : 0;
  struct stat status {};
  if (error == 0 && ::fstat(fd, &status) != 0) error = errno;
  if (error == 0 && S_ISDIR(status.st_mode)) error = EISDIR;
  if (error == 0 && status.st_size > 0) {
    const size_t size = static_cast<size_t>(status.st_size);
    void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (address == MAP_FAILED) {
      error = errno;
    } else {
      bytes = {static_cast<const std::byte*>(address), size};
    }
  }
  if (fd >= 0) ::close(fd);
  if (error != 0)
    return fail(ErrorCode::kIo,
                fmt::format("cannot open: {}", std::generic_category().message(error)), path);
  return {};
}

Result<void> SafetensorsFile::Mapping::parse() {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.starts_with(kLfsPointerStart))
    return refuse("this is a Git LFS pointer, not the tensors themselves",
                  "fetch the file with 'git lfs pull'");
  if (text.size() < kLengthBytes)
    return refuse(
        fmt::format("the file is truncated: {} bytes, not even a header length", text.size()));
  uint64_t header_bytes;
  std::memcpy(&header_bytes, text.data(), kLengthBytes);
  if (header_bytes > kLongestHeader)
    return refuse(fmt::format("a header of {} bytes is too long (limit {}): not a safetensors file",
                              header_bytes, kLongestHeader));
  if (header_bytes > text.size() - kLengthBytes)
    return refuse(fmt::format("the file is truncated: a header of {} bytes, {} bytes follow",
                              header_bytes, text.size() - kLengthBytes));

  const std::string where = path + ": header";
  const Json header = FIB_TRY(parse_json(text.substr(kLengthBytes, header_bytes), where));
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + header_bytes);
  for (const auto& [name, entry] : FIB_TRY(JsonView(header, where).object())) {
    if (name == kMetadataKey) {
      for (const auto& [key, value] : FIB_TRY(entry.object()))
        metadata[key] = FIB_TRY(value.string());
      continue;
    }
    index.emplace(name, tensors.size());
    tensors.push_back(FIB_TRY(read_tensor(name, entry, data)));
  }
  return check_coverage(tensors, data, path);
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& file) {
  auto mapping = std::make_shared<Mapping>();
  mapping->path = file.string();
  FIB_CHECK(mapping->map());
  FIB_CHECK(mapping->parse());
  SafetensorsFile opened;
  opened.mapping_ = std::move(mapping);
  return opened;
}

const std::vector<StoredTensor>& SafetensorsFile::tensors() const { return mapping_->tensors; }

const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return mapping_->metadata;
}

Result<StoredTensor> SafetensorsFile::tensor(std::string_view name) const {
  const auto found = mapping_->index.find(name);
  if (found != mapping_->index.end()) return mapping_->tensors[found->second];

  constexpr size_t kNamesShown = 20;
  std::vector<std::string_view> names;
  for (const auto& [known, position] : mapping_->index) names.push_back(known);
  const std::optional<std::string_view> nearest = nearest_word(name, names);
  const size_t shown = std::min(names.size(), kNamesShown);
  std::string list = fmt::format("{}", fmt::join(names.begin(), names.begin() + shown, ", "));
  if (shown < names.size()) list += fmt::format(" and {} more", names.size() - shown);
  return fail(ErrorCode::kNotFound,
              names.empty() ? fmt::format("no tensor '{}'; the file is empty", name)
                            : fmt::format("no tensor '{}'; there are {}", name, list),
              mapping_->path, nearest ? fmt::format("did you mean '{}'?", *nearest) : "");
}

Result<void> write_safetensors(const std::filesystem::path& file,
                               const std::vector<StoredTensor>& tensors,
                               const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header[std::string(kMetadataKey)] = metadata;
  std::set<std::string_view> names;
  size_t offset = 0;
  for (const StoredTensor& tensor : tensors) {
    const auto refuse = [&](std::string message) {
      return fail(ErrorCode::kInvalidInput, fmt::format("tensor '{}' {}", tensor.name, message),
                  file.string());
    };
    if (tensor.name == kMetadataKey) return refuse("has the name of the format's metadata");
    if (!names.insert(tensor.name).second) return refuse("is given twice");
    const bool negative = std::ranges::any_of(tensor.shape, [](int64_t n) { return n < 0; });
    const auto bytes = negative ? std::nullopt : bytes_of_shape(tensor.dtype, tensor.shape);
    if (bytes != tensor.data.size())
      return refuse(fmt::format("has {} bytes of data, which is not what {} [{}] takes",
                                tensor.data.size(), dtype_safetensors_name(tensor.dtype),
                                fmt::join(tensor.shape, ", ")));
    header[tensor.name] = {{"dtype", dtype_safetensors_name(tensor.dtype)},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + *bytes}}};
    offset += *bytes;
  }

  std::string text = dump_json(header);
  text.append((kDataAlignment - text.size() % kDataAlignment) % kDataAlignment, ' ');
  const uint64_t header_bytes = text.size();
  std::vector<std::string_view> pieces = {
      {reinterpret_cast<const char*>(&header_bytes), kLengthBytes}, text};
  for (const StoredTensor& tensor : tensors)
    pieces.emplace_back(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  return write_file_atomically(file, pieces);
}

}  // namespace fib
