#include "integrations/serving/model/blocks.h"

#include <cmath>
#include <string>

namespace fib {
namespace {

Operand first_rows(Operand operand, int count) {
  operand.shape[0] = count;
  return operand;
}

// Grouped-query attention over the paged cache: qkv product, norms and rope and append in one call,
// attention of the decode rows and of the prefill rows, output product.
class GqaAttention : public Block {
 public:
  static Result<std::unique_ptr<Block>> create(const BlockContext& context, size_t layer) {
    const ModelConfig& c = context.config;
    const SignatureNames names(c, context.cache.page_size);
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    std::unique_ptr<GqaAttention> block(new GqaAttention(context, layer));
    const int q_size = c.num_heads * c.head_dim;
    block->qkv_ = FIB_TRY(Linear::create(context.dispatch, names.qkv,
                                         context.weights.at(prefix + "qkv"), block->qkv_size(),
                                         c.hidden_size));
    block->output_ = FIB_TRY(Linear::create(context.dispatch, names.output_projection,
                                            context.weights.at(prefix + "o"), c.hidden_size,
                                            q_size));
    block->rope_append_ = FIB_TRY(context.dispatch.resolve(names.rope_append));
    block->decode_ = FIB_TRY(context.dispatch.resolve(names.decode));
    block->prefill_ = FIB_TRY(context.dispatch.resolve(names.prefill));
    if (c.has_qk_norm) {
      block->q_norm_ = Operand::tensor(context.weights.at(prefix + "q_norm"), {c.head_dim});
      block->k_norm_ = Operand::tensor(context.weights.at(prefix + "k_norm"), {c.head_dim});
    }
    return std::unique_ptr<Block>(std::move(block));
  }

  size_t prepared_bytes() const override {
    return qkv_.prepared_bytes() + output_.prepared_bytes();
  }

  Result<void> run(const StepInputs& inputs, int rows, Activations& a) override {
    FIB_CHECK(qkv_.run(a.normed.data(), a.qkv.data(), rows));
    FIB_CHECK(append(inputs, rows, a));
    if (inputs.decode.num_rows > 0) {
      FIB_CHECK(attend(*decode_, inputs.decode, inputs.values, a));
    }
    if (rows > inputs.decode_rows) {
      FIB_CHECK(attend(*prefill_, inputs.prefill, inputs.values, a));
    }
    return output_.run(a.attention.data(), a.delta.data(), rows);
  }

 private:
  GqaAttention(const BlockContext& context, size_t layer)
      : config_(context.config),
        cache_(context.cache),
        layer_(layer),
        cos_sin_(context.cos_sin) {}

  Operand cached(const std::vector<DeviceArray>& layers) const {
    return Operand::tensor(layers[layer_], {cache_.num_pages, cache_.page_size,
                                            config_.num_kv_heads, config_.head_dim});
  }
  int qkv_size() const {
    return (config_.num_heads + 2 * config_.num_kv_heads) * config_.head_dim;
  }
  Operand heads(std::byte* data, int first_row, int rows) const {
    const auto row_bytes = static_cast<size_t>(config_.num_heads * config_.head_dim) * 2;
    return Operand::tensor(data + static_cast<size_t>(first_row) * row_bytes,
                           {rows, config_.num_heads, config_.head_dim});
  }

  Result<void> append(const StepInputs& inputs, int rows, const Activations& a) const {
    const Operand keys = cached(cache_.keys), values = cached(cache_.values);
    std::array<Operand, 8> in;
    size_t count = 0;
    in[count++] = Operand::tensor(a.qkv, {rows, qkv_size()});
    if (config_.has_qk_norm) {
      in[count++] = q_norm_;
      in[count++] = k_norm_;
    }
    in[count++] = cos_sin_;
    in[count++] = first_rows(inputs.positions, rows);
    in[count++] = first_rows(inputs.slots, rows);
    in[count++] = keys;
    in[count++] = values;
    const Operand out[] = {heads(a.q.data(), 0, rows), keys, values};
    return rope_append_->run(
        {.inputs = std::span(in).first(count), .outputs = out, .values = inputs.values});
  }

  Result<void> attend(Kernel& kernel, const AttentionInputs& rows, InputValues values,
                      const Activations& a) const {
    std::array<Operand, 8> in;
    size_t count = 0;
    in[count++] = heads(a.q.data(), rows.first_row, rows.num_rows);
    in[count++] = cached(cache_.keys);
    in[count++] = cached(cache_.values);
    if (&kernel == prefill_) in[count++] = rows.qo_indptr;
    in[count++] = rows.kv_indptr;
    in[count++] = rows.kv_indices;
    in[count++] = rows.last_page_len;
    in[count++] = Operand::value(1.0 / std::sqrt(static_cast<double>(config_.head_dim)));
    const size_t lse_offset =
        static_cast<size_t>(rows.first_row * config_.num_heads) * sizeof(float);
    const Operand out[] = {heads(a.attention.data(), rows.first_row, rows.num_rows),
                           Operand::tensor(a.lse.data() + lse_offset,
                                           {rows.num_rows, config_.num_heads})};
    return kernel.run({.inputs = std::span(in).first(count), .outputs = out, .values = values});
  }

  const ModelConfig& config_;
  const KvCache& cache_;
  size_t layer_;
  Linear qkv_, output_;
  Kernel* rope_append_ = nullptr;
  Kernel* decode_ = nullptr;
  Kernel* prefill_ = nullptr;
  Operand q_norm_, k_norm_;  // bfloat16 [head_dim]
  Operand cos_sin_;
};

// Router, top-k, and the chosen experts in one grouped call.
class Experts : public Block {
 public:
  static Result<std::unique_ptr<Block>> create(const BlockContext& context, size_t layer) {
    const ModelConfig& c = context.config;
    const SignatureNames names(c, context.cache.page_size);
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    std::unique_ptr<Experts> block(new Experts(c));
    block->router_ = FIB_TRY(Linear::create(context.dispatch, names.router,
                                            context.weights.at(prefix + "router"), c.num_experts,
                                            c.hidden_size));
    block->routing_ = FIB_TRY(context.dispatch.resolve(names.routing));
    block->experts_ = FIB_TRY(context.dispatch.resolve(names.experts));
    const int64_t e = c.num_experts, h = c.hidden_size, i = c.expert_size;
    const auto weight = [&](const char* name, std::initializer_list<int64_t> shape) {
      block->weights_.push_back(Operand::tensor(context.weights.at(prefix + name), shape));
    };
    if (c.expert_format == ExpertFormat::kInt4Group32) {
      weight("w13_packed", {e, 2 * i, h / 8});
      weight("w13_scale", {e, 2 * i, h / 32});
      weight("w2_packed", {e, h, i / 8});
      weight("w2_scale", {e, h, i / 32});
    } else {
      weight("w13", {e, 2 * i, h});
      weight("w2", {e, h, i});
    }
    std::vector<Operand> inputs(3);  // hidden states, ids, weights: not known yet
    inputs.insert(inputs.end(), block->weights_.begin(), block->weights_.end());
    block->prepared_ = FIB_TRY(block->experts_->prepare(inputs));
    return std::unique_ptr<Block>(std::move(block));
  }

  size_t prepared_bytes() const override {
    return router_.prepared_bytes() + (prepared_ ? prepared_->bytes() : 0);
  }

  Result<void> run(const StepInputs& inputs, int rows, Activations& a) override {
    const int top_k = config_.experts_per_token;
    FIB_CHECK(router_.run(a.normed.data(), a.router_logits.data(), rows));
    const Operand logits = Operand::tensor(a.router_logits, {rows, config_.num_experts});
    const Operand weights = Operand::tensor(a.topk_weights, {rows, top_k});
    const Operand ids = a.topk_ids.take(rows, top_k);
    const Operand routed[] = {weights, ids};
    FIB_CHECK(routing_->run({.inputs = {&logits, 1}, .outputs = routed}));
    std::array<Operand, 7> in = {Operand::tensor(a.normed, {rows, config_.hidden_size}), ids,
                                 weights};
    std::copy(weights_.begin(), weights_.end(), in.begin() + 3);
    const Operand out = Operand::tensor(a.delta, {rows, config_.hidden_size});
    return experts_->run({.inputs = std::span(in).first(3 + weights_.size()),
                          .outputs = {&out, 1},
                          .prepared = prepared_.get(),
                          .padding_rows = inputs.padding_rows});
  }

 private:
  explicit Experts(const ModelConfig& config) : config_(config) {}
  const ModelConfig& config_;
  Linear router_;
  Kernel* routing_ = nullptr;
  Kernel* experts_ = nullptr;
  std::vector<Operand> weights_;
  std::unique_ptr<PreparedWeights> prepared_;
};

class DenseFfn : public Block {
 public:
  static Result<std::unique_ptr<Block>> create(const BlockContext& context, size_t layer) {
    const ModelConfig& c = context.config;
    const SignatureNames names(c, context.cache.page_size);
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    std::unique_ptr<DenseFfn> block(new DenseFfn(c));
    block->gate_up_ = FIB_TRY(Linear::create(context.dispatch, names.gate_up,
                                             context.weights.at(prefix + "gate_up"),
                                             2 * c.intermediate_size, c.hidden_size));
    block->activation_ = FIB_TRY(context.dispatch.resolve(names.activation));
    block->down_ = FIB_TRY(Linear::create(context.dispatch, names.down,
                                          context.weights.at(prefix + "down"), c.hidden_size,
                                          c.intermediate_size));
    return std::unique_ptr<Block>(std::move(block));
  }

  size_t prepared_bytes() const override {
    return gate_up_.prepared_bytes() + down_.prepared_bytes();
  }

  Result<void> run(const StepInputs&, int rows, Activations& a) override {
    FIB_CHECK(gate_up_.run(a.normed.data(), a.gate_up.data(), rows));
    const Operand in = Operand::tensor(a.gate_up, {rows, 2 * config_.intermediate_size});
    const Operand out = Operand::tensor(a.activated, {rows, config_.intermediate_size});
    FIB_CHECK(activation_->run({.inputs = {&in, 1}, .outputs = {&out, 1}}));
    return down_.run(a.activated.data(), a.delta.data(), rows);
  }

 private:
  explicit DenseFfn(const ModelConfig& config) : config_(config) {}
  const ModelConfig& config_;
  Linear gate_up_, down_;
  Kernel* activation_ = nullptr;
};

Result<std::unique_ptr<Block>> make_attention(const BlockContext& context, size_t layer) {
  switch (context.config.layers[layer].attention) {
    case AttentionKind::kFull: break;
  }
  return GqaAttention::create(context, layer);
}

Result<std::unique_ptr<Block>> make_ffn(const BlockContext& context, size_t layer) {
  switch (context.config.layers[layer].ffn) {
    case FfnKind::kDense: return DenseFfn::create(context, layer);
    case FfnKind::kExperts: break;
  }
  return Experts::create(context, layer);
}

}  // namespace

Result<KvCache> KvCache::create(ServingDevice& device, const ModelConfig& config, int num_pages,
                                int page_size) {
  KvCache cache{.num_pages = num_pages, .page_size = page_size, .keys = {}, .values = {}};
  const size_t bytes = static_cast<size_t>(num_pages) * static_cast<size_t>(page_size) *
                       static_cast<size_t>(config.num_kv_heads * config.head_dim) * 2;
  for (size_t layer = 0; layer < config.layers.size(); ++layer) {
    for (auto* side : {&cache.keys, &cache.values}) {
      side->push_back(FIB_TRY(device.allocate(bytes)));
      FIB_CHECK(device.fill(side->back().data(), 0, bytes));
    }
  }
  return cache;
}

Result<std::vector<LayerBlocks>> make_blocks(const BlockContext& context) {
  std::vector<LayerBlocks> blocks;
  for (size_t layer = 0; layer < context.config.layers.size(); ++layer) {
    LayerBlocks both;
    both.attention = FIB_TRY(make_attention(context, layer));
    both.ffn = FIB_TRY(make_ffn(context, layer));
    blocks.push_back(std::move(both));
  }
  return blocks;
}

Result<Linear> Linear::create(Dispatch& dispatch, const SignatureRequest& request,
                              std::byte* weight, int outputs, int inputs) {
  Linear linear;
  linear.kernel_ = FIB_TRY(dispatch.resolve(request));
  linear.weight_ = weight;
  linear.outputs_ = outputs;
  linear.inputs_ = inputs;
  const Operand operands[] = {Operand{}, Operand::tensor(weight, {outputs, inputs})};
  linear.prepared_ = FIB_TRY(linear.kernel_->prepare(operands));
  return linear;
}

Result<void> Linear::run(std::byte* x, std::byte* y, int rows) const {
  const Operand in[] = {Operand::tensor(x, {rows, inputs_}),
                        Operand::tensor(weight_, {outputs_, inputs_})};
  const Operand out = Operand::tensor(y, {rows, outputs_});
  return kernel_->run({.inputs = in, .outputs = {&out, 1}, .prepared = prepared_.get()});
}

}  // namespace fib
