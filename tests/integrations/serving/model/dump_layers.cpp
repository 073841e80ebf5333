// Writes what the bundled model computes for a prompt of golden.json, for comparing with other
// implementations: the residual stream after the embedding and after each layer, and the logits.
//
//   dump_layers SOURCE FIB CACHE TARGET CASE OUT
//
// SOURCE  the repository, FIB its binary (it compiles the kernels), CACHE where built kernels lie
// TARGET  cpu or cuda
// CASE    of golden.json, by name
// OUT     a safetensors file: embedding, layer.0, layer.1, ... bfloat16 [tokens, hidden_size];
//         logits float32 [1, vocab_size], of the last token; prompt_ids int32 [tokens]

#include <cstdio>
#include <cstdlib>
#include <deque>
#include <numeric>
#include <string>

#include "integrations/serving/model/load_model.h"
#include "signatures/base/file.h"
#include "signatures/base/json.h"
#include "signatures/base/safetensors.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

struct DumpArgs {
  fs::path source, fib, cache;
  std::string target, golden_case;
  fs::path out;
};

CudaSearch cuda_search(const fs::path& cache) {
  CudaSearch search;
  search.cache_folder = cache;
  if (const char* home = std::getenv("CUDA_HOME")) search.roots = {home};
  if (const char* venv = std::getenv("VIRTUAL_ENV")) search.python_prefixes = {venv};
  return search;
}

Result<std::vector<TokenId>> prompt_of(const fs::path& golden, const std::string& name) {
  const Json json = FIB_TRY(read_json_file(golden));
  std::string names;
  for (const Json& entry : json.at("cases")) {
    if (entry.at("name") == name) return entry.at("prompt_ids").get<std::vector<TokenId>>();
    names += " " + entry.at("name").get<std::string>();
  }
  return fail(ErrorCode::kNotFound, "no such case: " + name, golden.string(), "one of" + names);
}

// The tensors that the probe sees, by layer.
class Dump {
 public:
  explicit Dump(const ModelConfig& config)
      : config_(config), num_layers_(static_cast<int>(config.layers.size())) {}

  void add(int layer, int rows, std::span<const std::byte> values) {
    const bool is_logits = layer == num_layers_;
    add({.name = is_logits     ? "logits"
                 : layer == -1 ? "embedding"
                               : "layer." + std::to_string(layer),
         .dtype = is_logits ? DType::kFloat32 : DType::kBFloat16,
         .shape = {rows, is_logits ? config_.vocab_size : config_.hidden_size},
         .data = values});
  }
  void add(StoredTensor tensor) {
    const auto& bytes = bytes_.emplace_back(tensor.data.begin(), tensor.data.end());
    tensor.data = bytes;
    tensors_.push_back(std::move(tensor));
  }
  Result<void> write(const fs::path& file) const { return write_safetensors(file, tensors_); }

 private:
  const ModelConfig& config_;
  const int num_layers_;
  std::deque<std::vector<std::byte>> bytes_;
  std::vector<StoredTensor> tensors_;
};

Result<void> dump(const DumpArgs& args) {
  const fs::path model = args.source / "integrations/serving/models/fib-tiny-moe";
  const std::vector<TokenId> prompt = FIB_TRY(prompt_of(model / "golden.json", args.golden_case));
  const auto device =
      args.target == "cpu" ? FIB_TRY(open_cpu_device(0)) : FIB_TRY(open_cuda_device(0));
  const auto dispatch =
      FIB_TRY(open_house_dispatch(*device, {.definitions = args.source / "signatures/definitions",
                                            .solutions = args.source / "leaderboard/solutions",
                                            .abi = args.source / "harness/abi",
                                            .device_sources = args.source / "runners/cuda/device",
                                            .cache_folder = args.cache,
                                            .worker_executable = args.fib,
                                            .cuda = cuda_search(args.cache)}));
  const auto executor =
      FIB_TRY(load_model(*dispatch, {.folder = model}, {.kv_bytes = size_t{64} << 20}, {}));

  Dump dump(executor->config());
  executor->set_probe([&](int layer, int rows, std::span<const std::byte> values) {
    dump.add(layer, rows, values);
  });
  const ExecutorLimits& limits = executor->limits();
  std::vector<int32_t> pages((prompt.size() + limits.page_size - 1) / limits.page_size);
  std::iota(pages.begin(), pages.end(), 0);
  Step step;
  step.prefill = {{.tokens = prompt, .pages = pages, .wants_token = true}};
  step.prefill_layers = {0, limits.num_layers};
  step.choices = {{.temperature = 0.0f}};
  FIB_TRY(executor->run(step));
  dump.add({.name = "prompt_ids",
            .dtype = DType::kInt32,
            .shape = {static_cast<int64_t>(prompt.size())},
            .data = std::as_bytes(std::span(prompt))});
  return dump.write(args.out);
}

}  // namespace
}  // namespace fib

int main(int argc, char** argv) {
  if (argc != 7) {
    fprintf(stderr, "usage: dump_layers SOURCE FIB CACHE TARGET CASE OUT\n");
    return 2;
  }
  const auto done = fib::dump({argv[1], argv[2], argv[3], argv[4], argv[5], argv[6]});
  if (!done) {
    fprintf(stderr, "dump_layers: %s\n", done.error().to_string().c_str());
    return 1;
  }
  return 0;
}
