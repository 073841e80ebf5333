#pragma once

// The two halves of a decoder layer, each from `normed` to `delta`. What an architecture does
// differently (latent attention, windows, recurrent state, shared experts) is another Block here,
// chosen by the layer's config in make_blocks().

#include <memory>
#include <vector>

#include "integrations/package/dispatch.h"
#include "integrations/serving/model/activations.h"
#include "integrations/serving/model/step_inputs.h"
#include "integrations/serving/model/weights.h"

namespace fib {

// Keys and values of all layers, in pages.
struct KvCache {
  static Result<KvCache> create(ServingDevice& device, const ModelConfig& config, int num_pages,
                                int page_size);
  int num_pages = 0, page_size = 0;
  // A layer each: bfloat16 [num_pages, page_size, num_kv_heads, head_dim].
  std::vector<DeviceArray> keys, values;
};

class Block {
 public:
  virtual ~Block() = default;
  // Rows [0, rows) of `a.normed` to the same rows of `a.delta`. Prefill attention runs only if
  // `rows` covers the step's prefill rows.
  virtual Result<void> run(const StepInputs& inputs, int rows, Activations& a) = 0;
  virtual size_t prepared_bytes() const = 0;  // of weights laid out anew
};

// What blocks are made from; all of it outlives them.
struct BlockContext {
  Dispatch& dispatch;
  const ModelConfig& config;
  const Weights& weights;
  const KvCache& cache;  // empty yet, but for its page size: it gets the memory that is left
  Operand cos_sin;  // float32 [max_positions, head_dim]: cosines, then sines
};

struct LayerBlocks {
  std::unique_ptr<Block> attention, ffn;
};
// Resolves the kernels of every layer and lays out their weights.
Result<std::vector<LayerBlocks>> make_blocks(const BlockContext& context);

// The signatures that make_blocks() and the executor resolve: for building them beforehand.
std::vector<SignatureRequest> model_signatures(const ModelConfig& config, int page_size);

// Names of the signatures, so that both of the above spell them once.
struct SignatureNames {
  SignatureNames(const ModelConfig& config, int page_size);
  SignatureRequest embedding, norm, add_norm, qkv, rope_append, decode, prefill, output_projection;
  SignatureRequest router, routing, experts;         // experts only
  SignatureRequest gate_up, activation, down;        // dense layers only
  SignatureRequest lm_head, argmax, sampling;
};

// A matrix product with a weight, y = x W^T: the call that everything else is made of.
class Linear {
 public:
  static Result<Linear> create(Dispatch& dispatch, const SignatureRequest& request,
                               std::byte* weight, int outputs, int inputs);
  Result<void> run(std::byte* x, std::byte* y, int rows) const;
  size_t prepared_bytes() const { return prepared_ ? prepared_->bytes() : 0; }

 private:
  Kernel* kernel_ = nullptr;
  std::byte* weight_ = nullptr;  // bfloat16 [outputs, inputs]
  int outputs_ = 0, inputs_ = 0;
  std::unique_ptr<PreparedWeights> prepared_;
};

}  // namespace fib
