#include "harness/expected.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <future>
#include <limits>

#include "harness/thread_pool.h"
#include "harness/verdict_json.h"
#include "signatures/base/hash.h"
#include "signatures/base/safetensors.h"

namespace fib {
namespace {

// Raise whenever a reference's values change.
constexpr uint64_t kReferenceVersion = 1;

// What a disk is assumed to give; deciding by it only costs time where it is wrong.
constexpr double kDiskBytesPerSecond = 5e8;

std::string expected_key(const Problem& problem, const InputSet& inputs) {
  Hasher hash;
  hash.add("expected").add(kReferenceVersion).add(problem.signature->fib.reference);
  for (const auto& [name, value] : problem.signature->fib.parameters) {
    hash.add(name).add(std::string_view(reinterpret_cast<const char*>(&value), sizeof value));
  }
  for (const auto& [name, value] : problem.axes) hash.add(name).add(static_cast<uint64_t>(value));
  for (const TensorDesc& output : problem.outputs) {
    hash.add(output.name).add(static_cast<uint64_t>(output.dtype));
  }
  for (const InputValue& value : inputs.values) {
    hash.add(value.desc.name).add(static_cast<uint64_t>(value.desc.dtype));
    if (const auto* generated = std::get_if<Generated>(&value.source)) {
      const Distribution& d = generated->distribution;
      hash.add(generated->seed).add(generated->stream).add(static_cast<uint64_t>(d.kind));
      for (const double* number : {&d.a, &d.b}) {
        hash.add(std::string_view(reinterpret_cast<const char*>(number), sizeof *number));
      }
    } else if (const auto* bytes = std::get_if<InputBytes>(&value.source)) {
      hash.add(std::string_view(reinterpret_cast<const char*>((*bytes)->data()), (*bytes)->size()));
    } else {
      const double scalar = std::get<double>(value.source);
      hash.add(std::string_view(reinterpret_cast<const char*>(&scalar), sizeof scalar));
    }
  }
  return hash.hex();
}

ReferenceValues reference_values(FloatBuffer values, const TensorDesc& output,
                                 const ParallelFor& parallel_for) {
  const int64_t row_length = output.shape.empty() ? 1 : output.shape.back();
  ReferenceValues reference = make_reference_values(std::move(values), row_length, parallel_for);
  if (is_integer(output.dtype)) accept_only_exact(reference);
  return reference;
}

size_t bytes_of(const Expected& expected) {
  size_t bytes = 0;
  for (const ExpectedOutput& output : expected.outputs) {
    bytes += (output.exact.values.size() + output.exact.row_scale.size()) * sizeof(float);
  }
  return bytes;
}

Result<ExpectedPtr> compute(const Problem& problem, const InputSet& inputs, int threads) {
  const Reference* reference = find_reference(problem.signature->fib.reference);
  if (reference == nullptr) {
    return fail(ErrorCode::kUnsupported,
                "there is no C++ reference for op type '" + problem.signature->op_type + "' (" +
                    (problem.signature->fib.reference.empty() ? "none named"
                                                              : problem.signature->fib.reference) +
                    ")",
                problem.signature->name, "`fib signature list` shows which signatures can be judged");
  }
  const auto sources = open_sources(inputs);
  const ParallelFor parallel_for = parallel_on(threads);
  ReferenceCall call{.problem = problem,
                     .inputs = sources,
                     .precision = Precision::kExact,
                     .parallel_for = parallel_for};
  ReferenceOutputs exact = FIB_TRY(reference->run(call));
  call.precision = Precision::kHonest;
  const ReferenceOutputs honest = FIB_TRY(reference->run(call));
  auto expected = std::make_shared<Expected>();
  for (size_t i = 0; i < exact.size(); ++i) {
    ExpectedOutput output;
    output.exact = reference_values(std::move(exact[i]), problem.outputs[i], parallel_for);
    output.honest = compare_output(DType::kFloat32, std::as_bytes(std::span(honest[i])),
                                   output.exact, std::numeric_limits<double>::infinity(),
                                   parallel_for);
    expected->outputs.push_back(std::move(output));
  }
  return expected;
}

Result<ExpectedPtr> load(const std::filesystem::path& file, const Problem& problem, int threads) {
  const SafetensorsFile stored = FIB_TRY(SafetensorsFile::open(file));
  auto expected = std::make_shared<Expected>();
  for (const TensorDesc& desc : problem.outputs) {
    const StoredTensor tensor = FIB_TRY(stored.tensor(desc.name));
    const auto honest = stored.metadata().find("honest." + desc.name);
    if (tensor.dtype != DType::kFloat32 || honest == stored.metadata().end() ||
        tensor.data.size() != static_cast<size_t>(desc.num_elements()) * sizeof(float)) {
      return fail(ErrorCode::kInvalidInput, "not an expected-values file", file.string());
    }
    FloatBuffer values(static_cast<size_t>(desc.num_elements()));
    std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
    ExpectedOutput output;
    output.exact = reference_values(std::move(values), desc, parallel_on(threads));
    const Json stats = FIB_TRY(parse_json(honest->second, file.string()));
    output.honest = FIB_TRY(error_stats_from_json(JsonView(stats, file.string())));
    expected->outputs.push_back(std::move(output));
  }
  return expected;
}

Result<void> save(const std::filesystem::path& file, const Problem& problem,
                  const Expected& expected) {
  std::error_code refused;  // then the write below says so
  std::filesystem::create_directories(file.parent_path(), refused);
  std::vector<StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
  for (size_t i = 0; i < problem.outputs.size(); ++i) {
    const TensorDesc& desc = problem.outputs[i];
    tensors.push_back(StoredTensor{.name = desc.name,
                                   .dtype = DType::kFloat32,
                                   .shape = desc.shape,
                                   .data = std::as_bytes(std::span(expected.outputs[i].exact.values))});
    metadata["honest." + desc.name] = dump_json(error_stats_to_json(expected.outputs[i].honest));
  }
  return write_safetensors(file, tensors, metadata);
}

// Drops the oldest files until the folder holds at most `limit` bytes.
void trim_folder(const std::filesystem::path& folder, size_t limit) {
  struct File {
    std::filesystem::file_time_type time;
    size_t bytes;
    std::filesystem::path path;
  };
  std::error_code ignored;  // another process may be trimming too
  std::vector<File> files;
  size_t total = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const size_t bytes = entry.file_size(ignored);
    if (ignored) continue;
    files.push_back({entry.last_write_time(ignored), bytes, entry.path()});
    total += bytes;
  }
  std::sort(files.begin(), files.end(), [](const File& a, const File& b) { return a.time < b.time; });
  for (const File& file : files) {
    if (total <= limit) return;
    std::filesystem::remove(file.path, ignored);
    total -= file.bytes;
  }
}

}  // namespace

struct ExpectedCache::Entry {
  std::string key;
  std::shared_future<Result<ExpectedPtr>> value;
  size_t bytes = 0;  // 0 while it is being computed
};

ExpectedCache::ExpectedCache(std::filesystem::path folder, size_t disk_bytes, size_t memory_bytes)
    : folder_(std::move(folder)), disk_bytes_(disk_bytes), memory_bytes_(memory_bytes) {}

ExpectedCache::~ExpectedCache() = default;

Result<ExpectedPtr> ExpectedCache::get(const Problem& problem, const InputSet& inputs,
                                       int threads) {
  const std::string key = expected_key(problem, inputs);
  std::promise<Result<ExpectedPtr>> promise;
  std::shared_ptr<Entry> entry;
  bool is_ours = false;
  {
    std::lock_guard lock(mutex_);
    const auto found = std::find_if(entries_.begin(), entries_.end(),
                                    [&](const auto& e) { return e->key == key; });
    if (found != entries_.end()) {
      entry = *found;
      std::rotate(found, found + 1, entries_.end());
    } else {
      entry = std::make_shared<Entry>(Entry{key, promise.get_future().share(), 0});
      entries_.push_back(entry);
      is_ours = true;
    }
  }
  if (!is_ours) return entry->value.get();

  try {
    promise.set_value(load_or_compute(key, problem, inputs, threads));
  } catch (...) {
    promise.set_exception(std::current_exception());
  }
  const Result<ExpectedPtr> result = entry->value.get();
  std::lock_guard lock(mutex_);
  if (!result) {
    std::erase(entries_, entry);
    return result;
  }
  entry->bytes = bytes_of(**result);
  size_t total = 0;
  for (const auto& e : entries_) total += e->bytes;
  for (auto it = entries_.begin(); it != entries_.end() && total > memory_bytes_;) {
    if (*it == entry || (*it)->bytes == 0) {
      ++it;
      continue;
    }
    total -= (*it)->bytes;
    it = entries_.erase(it);
  }
  return result;
}

Result<ExpectedPtr> ExpectedCache::load_or_compute(const std::string& key, const Problem& problem,
                                                   const InputSet& inputs, int threads) {
  if (folder_.empty()) return compute(problem, inputs, threads);
  const std::filesystem::path file = folder_ / (key + ".safetensors");
  std::error_code missing;
  if (std::filesystem::exists(file, missing)) {
    if (Result<ExpectedPtr> stored = load(file, problem, threads)) return stored;
    std::filesystem::remove(file, missing);  // damaged: computed again below
  }
  const auto start = std::chrono::steady_clock::now();
  const ExpectedPtr expected = FIB_TRY(compute(problem, inputs, threads));
  const double compute_s =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  // Large cheap outputs (a norm over many rows) are computed again faster than they are read.
  // And the cache is a convenience: a full disk must not cost the verdict.
  const size_t bytes = bytes_of(*expected);
  const bool is_worth_keeping = compute_s > static_cast<double>(bytes) / kDiskBytesPerSecond;
  if (is_worth_keeping && bytes <= disk_bytes_ / 8 && save(file, problem, *expected)) {
    trim_folder(folder_, disk_bytes_);
  }
  return expected;
}

}  // namespace fib
