#pragma once

// Runs a decoder model step by step. Every tensor operation is a call to a signature.

#include <functional>
#include <map>
#include <memory>
#include <string_view>

#include "integrations/serving/engine/executor.h"
#include "integrations/serving/model/blocks.h"
#include "integrations/serving/model/token_picker.h"

namespace fib {

enum class GraphUse {
  kWhereAble,  // decode steps are captured by batch size and replayed
  kNever,
};

struct ExecutorOptions {
  int page_size = 16;
  int max_positions = 0;        // 0: the model's
  int max_step_tokens = 1024;   // decode rows and prefill rows of a step
  int max_decode_rows = 256;
  size_t kv_bytes = 0;          // 0: as many pages as fit the memory that is left
  GraphUse graphs = GraphUse::kWhereAble;
  // Of so many steps one has its calls timed on the device; 0: none. A number without small factors
  // beats with nothing that recurs, such as the steps of a cohort. Those with prefill are counted
  // alone: they are fewer, longer, and dearer to miss. 0: as the others.
  int profile_every = 0;
  int profile_prefill_every = 0;
};

struct ModelMemory {  // bytes on the device
  size_t weights = 0, prepared = 0, kv_cache = 0;
};

class ModelExecutor : public Executor {
 public:
  // The dispatch outlives the executor. Errors: kernels that don't exist or build, memory that
  // doesn't suffice for one sequence of max_positions.
  static Result<std::unique_ptr<ModelExecutor>> create(Dispatch& dispatch, ModelConfig config,
                                                       Weights weights,
                                                       const ExecutorOptions& options);
  ~ModelExecutor() override;

  const ExecutorLimits& limits() const override { return limits_; }
  Result<StepResult> run(const Step& step) override;
  void drop_stash() override { stash_rows_ = 0; }
  bool tend() override;

  const ModelConfig& config() const { return config_; }
  ModelMemory memory() const;

  // For comparing with other implementations: called with the residual stream after the embedding
  // (layer -1) and after each layer, bfloat16 [rows, hidden_size], and with the logits of the rows
  // that want a token, float32 [rows, vocab_size] (layer num_layers). Turns graphs off.
  using Probe = std::function<void(int layer, int rows, std::span<const std::byte> values)>;
  void set_probe(Probe probe) { probe_ = std::move(probe); }

 private:
  ModelExecutor(Dispatch& dispatch, ModelConfig config, Weights weights,
                const ExecutorOptions& options);
  Result<void> open();
  Result<int> choose_num_pages() const;

  // A decode step's graphs. Its calls are timed in one of their own, because marks cost time.
  struct StepGraphs {
    std::unique_ptr<DeviceGraph> plain, timed;
    size_t computed_bytes = 0;
  };
  enum class Manner {
    kPlain,
    kCallByCall,  // no graph: kernels are compared
    kTimed,       // calls are timed on the device
  };

  Result<StepResult> try_run(const Step& step);
  int graph_rows(const Step& step) const;  // 0: it doesn't run as a graph
  Manner manner_of(const Step& step, Dispatch::StepManner asked, int graph_rows);
  Result<StepResult> run_as(const Step& step, int graph_rows, Manner manner);
  Result<void> run_eager(const Step& step);
  Result<void> run_graph(const Step& step, int rows, Manner manner);
  // Everything from token ids to logits; `wanted`: rows of prefill whose logits are wanted.
  Result<void> forward(const StepInputs& inputs, LayerRange prefill_layers,
                       const std::vector<int>& wanted);
  Result<void> embed(const StepInputs& inputs, int rows);
  Result<void> normalise(int rows, Operand weight);      // residual + delta -> residual, normed
  Result<void> project(const StepInputs& inputs, const std::vector<int>& wanted);
  Result<void> restore_stash(int first_row, int rows);
  Result<void> save_stash();
  void drop_old_graphs();
  Result<void> probe(int layer, int rows);
  int bucket_of(int rows) const;

  Operand hidden(const DeviceArray& array, int rows) const {
    return Operand::tensor(array, {rows, config_.hidden_size});
  }
  size_t row_bytes() const { return static_cast<size_t>(config_.hidden_size) * 2; }

  Dispatch& dispatch_;
  ServingDevice& device_;
  ModelConfig config_;
  Weights weights_;
  ExecutorOptions options_;
  ExecutorLimits limits_;

  KvCache cache_;
  DeviceArray cos_sin_;                  // float32 [max_positions, head_dim]
  Activations activations_;
  DeviceArray stash_residual_, stash_delta_;  // bfloat16 [max_step_tokens, hidden_size]
  int stash_rows_ = 0;
  // Of the step under way: rows to be stashed when all of it is done, so that it can be done again.
  struct {
    int buffer = 0;  // of Activations::residual
    int first_row = 0, rows = 0;
  } unstashed_;
  std::vector<LayerBlocks> layers_;
  std::vector<Operand> input_norms_, post_norms_;  // bfloat16 [hidden_size], a layer each
  Operand final_norm_, embedding_;
  Kernel* embed_ = nullptr;
  Kernel* norm_ = nullptr;
  Kernel* add_norm_ = nullptr;
  Linear lm_head_;
  // Rows whose logits are wanted, where they don't stand together: bfloat16 [rows, hidden_size].
  DeviceArray wanted_delta_, wanted_residual_;
  DeviceArray logits_;                   // float32 [rows that want a token, vocab_size]
  StepPacker packer_;
  TokenPicker picker_;
  size_t computed_bytes_ = 0;         // of Activations::topk_ids, in the step under way
  std::map<int, StepGraphs> graphs_;  // by rows
  uint64_t graph_generation_ = 0;     // of the dispatch's kernels in them
  uint64_t num_decode_steps_ = 0, num_prefill_steps_ = 0;  // with profile_every
  Probe probe_;
};

// cos and sin of position * frequency: [max_positions, head_dim], the first half cosines.
std::vector<float> rope_table(const ModelConfig& config, int max_positions);

}  // namespace fib
