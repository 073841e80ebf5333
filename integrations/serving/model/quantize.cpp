#include "integrations/serving/model/quantize.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include "integrations/serving/model/checkpoint.h"
#include "integrations/serving/model/checkpoint_writer.h"
#include "integrations/serving/model/model_config.h"
#include "integrations/serving/model/quantization_config.h"
#include "signatures/base/file.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

// What a checkpoint's folder holds beside weights and config.json.
constexpr std::string_view kCopiedFiles[] = {
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "LICENSE",
};

// One tensor of the source, and what becomes of it.
struct Task {
  std::string tensor;
  DType dtype = DType::kBFloat16;
  std::vector<int64_t> shape;
  std::optional<int> layer;  // of an expert's matrix
};

struct Rounding {
  double squared_error = 0, squared_sum = 0;
  double relative_rms() const {
    return squared_sum > 0 ? std::sqrt(squared_error / squared_sum) : 0;
  }
};

// A folder that is gone with its owner unless it was moved into place.
class TemporaryFolder {
 public:
  static Result<TemporaryFolder> beside(const fs::path& target) {
    const fs::path parent = target.parent_path();
    std::string name = (parent / fmt::format(".{}.XXXXXX", target.filename().string())).string();
    if (::mkdtemp(name.data()) == nullptr)
      return fail(ErrorCode::kIo,
                  fmt::format("cannot make a folder: {}", std::generic_category().message(errno)),
                  parent.string());
    TemporaryFolder made;
    made.path_ = name;
    return made;
  }
  TemporaryFolder(TemporaryFolder&& other) noexcept : path_(std::exchange(other.path_, {})) {}
  TemporaryFolder& operator=(TemporaryFolder&&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }

  const fs::path& path() const { return path_; }
  Result<void> move_to(const fs::path& target) {
    std::error_code error;
    // mkdtemp's folder is its owner's alone; a checkpoint is as readable as the folder it is in.
    fs::permissions(path_, fs::status(path_.parent_path()).permissions() & fs::perms(0755), error);
    if (!error) fs::rename(path_, target, error);
    if (error)
      return fail(ErrorCode::kIo, fmt::format("cannot move into place: {}", error.message()),
                  target.string());
    path_.clear();
    return {};
  }

 private:
  TemporaryFolder() = default;
  fs::path path_;
};

Result<void> check_target(const fs::path& target) {
  std::error_code error;
  if (!fs::exists(target, error)) return {};
  if (fs::is_directory(target, error) && fs::is_empty(target, error)) return {};
  return fail(ErrorCode::kConflict, "is there already", target.string(),
              "name a new folder, or remove this one");
}

std::vector<Task> make_tasks(const ModelConfig& config) {
  std::vector<Task> tasks;
  for (const WeightSpec& spec : weight_specs(config)) {
    const bool is_expert = spec.shape.size() == 3;
    std::optional<int> layer;
    if (is_expert) layer = std::stoi(spec.name.substr(std::string_view("layers.").size()));
    for (const auto& part : spec.parts)
      tasks.push_back({.tensor = part.tensor, .shape = part.shape, .layer = layer});
  }
  return tasks;
}

struct PackedNames {
  std::string packed, scale, shape;
  explicit PackedNames(const std::string& tensor)
      : packed(tensor + "_packed"), scale(tensor + "_scale"), shape(tensor + "_shape") {}
};

std::vector<PlannedTensor> plan(const std::vector<Task>& tasks) {
  std::vector<PlannedTensor> planned;
  for (const Task& task : tasks) {
    if (!task.layer) {
      planned.push_back({task.tensor, task.dtype, task.shape});
      continue;
    }
    const PackedNames names(task.tensor);
    const int64_t rows = task.shape[0], columns = task.shape[1];
    planned.push_back({names.packed, DType::kInt32, {rows, columns / kInt4PerWord}});
    planned.push_back({names.scale, DType::kBFloat16, {rows, columns / kInt4GroupSize}});
    planned.push_back({names.shape, DType::kInt64, {2}});
  }
  return planned;
}

Result<Rounding> quantize_matrix(const Task& task, const StoredTensor& source, ScaleRule rule,
                                 const CheckpointWriter& writer) {
  // Tensors of a safetensors file need not be aligned.
  std::vector<uint16_t> weights(source.data.size() / sizeof(uint16_t));
  std::memcpy(weights.data(), source.data.data(), source.data.size());
  Result<Int4Matrix> matrix = quantize_int4(weights, task.shape[1], rule);
  if (!matrix) {
    Error error = std::move(matrix).error();
    error.where = task.tensor;
    return fail(std::move(error));
  }
  const PackedNames names(task.tensor);
  FIB_CHECK(writer.write(names.packed, std::as_bytes(std::span(matrix->words))));
  FIB_CHECK(writer.write(names.scale, std::as_bytes(std::span(matrix->scales))));
  FIB_CHECK(writer.write(names.shape, std::as_bytes(std::span(task.shape))));
  return Rounding{matrix->squared_error, matrix->squared_sum};
}

// Does all tasks on some threads. The errors of the copied tensors are zero.
Result<std::vector<Rounding>> run_tasks(const std::vector<Task>& tasks, const Checkpoint& source,
                                        const CheckpointWriter& writer,
                                        const QuantizeOptions& options) {
  std::vector<Rounding> errors(tasks.size());
  std::atomic<size_t> next = 0;
  std::mutex mutex;  // guards what follows
  std::optional<Error> failure;
  int done = 0;

  const auto run_one = [&](size_t i) -> Result<void> {
    const Task& task = tasks[i];
    const StoredTensor stored = FIB_TRY(source.tensor(task.tensor, task.dtype, task.shape));
    if (!task.layer) return writer.write(task.tensor, stored.data);
    errors[i] = FIB_TRY(quantize_matrix(task, stored, options.scale_rule, writer));
    return {};
  };
  const auto work = [&] {
    for (size_t i = next++; i < tasks.size(); i = next++) {
      Result<void> result = run_one(i);
      const std::lock_guard lock(mutex);
      if (!result && !failure) failure = std::move(result).error();
      if (failure) return;
      ++done;
      if (options.on_progress) options.on_progress(done, static_cast<int>(tasks.size()));
    }
  };
  {
    std::vector<std::jthread> threads;
    for (int i = 1; i < options.num_threads; ++i) threads.emplace_back(work);
    work();
  }
  if (failure) return fail(*std::move(failure));
  return errors;
}

QuantizeReport make_report(const std::vector<Task>& tasks, const std::vector<Rounding>& errors) {
  QuantizeReport report;
  Rounding all;
  std::map<int, Rounding> layers;
  for (size_t i = 0; i < tasks.size(); ++i) {
    if (!tasks[i].layer) {
      ++report.copied_tensors;
      continue;
    }
    ++report.quantized_tensors;
    for (Rounding* sum : {&all, &layers[*tasks[i].layer]}) {
      sum->squared_error += errors[i].squared_error;
      sum->squared_sum += errors[i].squared_sum;
    }
    const double relative = errors[i].relative_rms();
    if (report.worst.tensor.empty() || relative > report.worst.relative_rms_error)
      report.worst = {tasks[i].tensor, relative};
  }
  for (const auto& [layer, sum] : layers) report.layers.push_back({layer, sum.relative_rms()});
  report.relative_rms_error = all.relative_rms();
  return report;
}

Result<void> write_config(const QuantizeOptions& options, const fs::path& folder) {
  Json config = FIB_TRY(read_json_file(options.source / "config.json"));
  config["quantization_config"] = int4_quantization_json();
  return write_file_atomically(folder / "config.json", dump_json_pretty(config) + "\n");
}

Result<void> copy_files(const fs::path& source, const fs::path& folder) {
  for (const std::string_view name : kCopiedFiles) {
    if (!fs::exists(source / name)) continue;
    const std::string content = FIB_TRY(read_file(source / name));
    FIB_CHECK(write_file_atomically(folder / name, content));
  }
  return {};
}

// Reads back what was written, as a server would.
Result<void> check_written(const fs::path& folder) {
  const ModelConfig config = FIB_TRY(read_model_config(folder));
  const Checkpoint checkpoint = FIB_TRY(Checkpoint::open(folder));
  return check_weights(checkpoint, weight_specs(config));
}

}  // namespace

Result<QuantizeReport> quantize_checkpoint(const QuantizeOptions& options) {
  fs::path target = fs::absolute(options.target).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();  // "folder/"
  const std::string config_file = (options.source / "config.json").string();
  const ModelConfig config = FIB_TRY(read_model_config(options.source));
  if (!config.is_moe())
    return fail(ErrorCode::kUnsupported,
                fmt::format("a {} model has no routed experts to quantise", config.model_type),
                config_file);
  if (config.expert_format != ExpertFormat::kBFloat16)
    return fail(ErrorCode::kConflict, "the experts are INT4 already", config_file);
  for (const int size : {config.hidden_size, config.expert_size})
    if (size % kInt4GroupSize != 0)
      return fail(ErrorCode::kUnsupported,
                  fmt::format("{} is not a multiple of {}, the weights that share a scale", size,
                              kInt4GroupSize),
                  config_file);
  FIB_CHECK(check_target(target));
  const Checkpoint source = FIB_TRY(Checkpoint::open(options.source));
  FIB_CHECK(check_weights(source, weight_specs(config)));

  TemporaryFolder folder = FIB_TRY(TemporaryFolder::beside(target));
  const std::vector<Task> tasks = make_tasks(config);
  const CheckpointWriter writer =
      FIB_TRY(CheckpointWriter::create(folder.path(), plan(tasks), options.shard_bytes));
  const std::vector<Rounding> errors = FIB_TRY(run_tasks(tasks, source, writer, options));
  FIB_CHECK(writer.finish());
  FIB_CHECK(write_config(options, folder.path()));
  FIB_CHECK(copy_files(options.source, folder.path()));
  FIB_CHECK(check_written(folder.path()));
  FIB_CHECK(folder.move_to(target));

  QuantizeReport report = make_report(tasks, errors);
  for (const Task& task : tasks) report.source_bytes += source.find(task.tensor)->data.size();
  report.target_bytes = writer.data_bytes();
  return report;
}

Json QuantizeReport::to_json() const {
  Json layer_list = Json::array();
  for (const Layer& layer : layers)
    layer_list.push_back(
        {{"layer", layer.layer}, {"relative_rms_error", layer.relative_rms_error}});
  return {{"relative_rms_error", relative_rms_error},
          {"worst", {{"tensor", worst.tensor}, {"relative_rms_error", worst.relative_rms_error}}},
          {"layers", layer_list},
          {"quantized_tensors", quantized_tensors},
          {"copied_tensors", copied_tensors},
          {"source_bytes", source_bytes},
          {"target_bytes", target_bytes}};
}

}  // namespace fib
