#include "integrations/serving/model/model_executor.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <utility>

namespace fib {
namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr int kMaxSequences = 64;           // prefill segments of a step
constexpr size_t kMostCacheTokens = size_t{1} << 30;  // slots are int32
constexpr double kCacheShare = 0.9;         // of the memory that is left for keys and values
constexpr int kGraphRows[] = {1,  2,  4,  8,  12, 16,  24,  32,  40,  48,  56, 64,
                              80, 96, 112, 128, 160, 192, 224, 256, 384, 512};

}  // namespace

ModelExecutor::ModelExecutor(Dispatch& dispatch, ModelConfig config, Weights weights,
                             const ExecutorOptions& options)
    : dispatch_(dispatch),
      device_(dispatch.device()),
      config_(std::move(config)),
      weights_(std::move(weights)),
      options_(options) {}

ModelExecutor::~ModelExecutor() = default;

Result<std::unique_ptr<ModelExecutor>> ModelExecutor::create(Dispatch& dispatch, ModelConfig config,
                                                             Weights weights,
                                                             const ExecutorOptions& options) {
  std::unique_ptr<ModelExecutor> executor(
      new ModelExecutor(dispatch, std::move(config), std::move(weights), options));
  FIB_CHECK(executor->open());
  return executor;
}

Result<int> ModelExecutor::choose_num_pages() const {
  const size_t page_bytes =
      config_.kv_bytes_per_token() * static_cast<size_t>(options_.page_size);
  const auto free = static_cast<double>(device_.free_bytes());
  const size_t bytes =
      options_.kv_bytes > 0 ? options_.kv_bytes : static_cast<size_t>(kCacheShare * free);
  const auto pages = static_cast<int>(
      std::min(bytes / page_bytes, kMostCacheTokens / static_cast<size_t>(options_.page_size)));
  const int needed = (limits_.max_positions + options_.page_size - 1) / options_.page_size;
  if (pages < needed) {
    return fail(ErrorCode::kResourceExhausted,
                fmt::format("the cache has room for {} tokens, one sequence may have {}",
                            int64_t{pages} * options_.page_size, limits_.max_positions),
                "kv cache", "give it more memory, or lower the longest sequence");
  }
  return pages;
}

Result<void> ModelExecutor::open() {
  limits_ = {.num_layers = static_cast<int>(config_.layers.size()),
             .vocab_size = config_.vocab_size,
             .max_positions = options_.max_positions > 0
                                  ? std::min(options_.max_positions, config_.max_positions)
                                  : config_.max_positions,
             .page_size = options_.page_size,
             .max_step_tokens = options_.max_step_tokens,
             .max_decode_rows = options_.max_decode_rows,
             .max_prefill_segments = kMaxSequences,
             .is_moe = config_.is_moe()};
  const int rows = options_.max_step_tokens;
  const int choices = options_.max_decode_rows + kMaxSequences;
  const auto size = [](int count, size_t bytes) { return static_cast<size_t>(count) * bytes; };

  const std::vector<float> table = rope_table(config_, limits_.max_positions);
  cos_sin_ = FIB_TRY(device_.allocate(table.size() * sizeof(float)));
  FIB_CHECK(device_.upload(cos_sin_.data(), reinterpret_cast<const std::byte*>(table.data()),
                           table.size() * sizeof(float)));
  FIB_CHECK(device_.synchronize());
  activations_ = FIB_TRY(Activations::create(device_, config_, rows));
  stash_residual_ = FIB_TRY(device_.allocate(size(rows, row_bytes())));
  stash_delta_ = FIB_TRY(device_.allocate(size(rows, row_bytes())));
  wanted_delta_ = FIB_TRY(device_.allocate(size(choices, row_bytes())));
  wanted_residual_ = FIB_TRY(device_.allocate(size(choices, row_bytes())));
  logits_ = FIB_TRY(device_.allocate(size(choices, size(config_.vocab_size, sizeof(float)))));

  const SignatureNames names(config_, options_.page_size);
  embed_ = FIB_TRY(dispatch_.resolve(names.embedding));
  norm_ = FIB_TRY(dispatch_.resolve(names.norm));
  add_norm_ = FIB_TRY(dispatch_.resolve(names.add_norm));
  const bool is_tied = !weights_.has("lm_head");
  lm_head_ = FIB_TRY(Linear::create(dispatch_, names.lm_head,
                                    weights_.at(is_tied ? "embedding" : "lm_head"),
                                    config_.vocab_size, config_.hidden_size));
  cache_.page_size = options_.page_size;
  layers_ = FIB_TRY(make_blocks({.dispatch = dispatch_,
                                 .config = config_,
                                 .weights = weights_,
                                 .cache = cache_,
                                 .cos_sin = Operand::tensor(
                                     cos_sin_, {limits_.max_positions, config_.head_dim})}));
  const auto vector = [&](const std::string& name) {
    return Operand::tensor(weights_.at(name), {config_.hidden_size});
  };
  for (size_t layer = 0; layer < config_.layers.size(); ++layer) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    input_norms_.push_back(vector(prefix + "input_norm"));
    post_norms_.push_back(vector(prefix + "post_norm"));
  }
  final_norm_ = vector("final_norm");
  embedding_ =
      Operand::tensor(weights_.at("embedding"), {config_.vocab_size, config_.hidden_size});

  // Last, from what weights, as laid out by the kernels, and activations leave.
  limits_.num_pages = FIB_TRY(choose_num_pages());
  const int spare_pages =
      (options_.max_decode_rows + options_.page_size - 1) / options_.page_size;
  cache_ = FIB_TRY(
      KvCache::create(device_, config_, limits_.num_pages + spare_pages, options_.page_size));
  const int64_t pages_a_sequence =
      (limits_.max_positions + options_.page_size - 1) / options_.page_size;
  packer_ = FIB_TRY(StepPacker::create(
      device_, {.tokens = rows,
                .decode_rows = options_.max_decode_rows,
                .sequences = kMaxSequences,
                .page_size = options_.page_size,
                .page_entries = pages_a_sequence * choices,
                .first_spare_page = limits_.num_pages}));
  picker_ = FIB_TRY(TokenPicker::create(dispatch_, names.argmax, names.sampling,
                                        config_.vocab_size, choices));
  return device_.synchronize();
}

ModelMemory ModelExecutor::memory() const {
  ModelMemory memory{.weights = weights_.bytes(), .prepared = lm_head_.prepared_bytes()};
  for (const LayerBlocks& layer : layers_) {
    memory.prepared += layer.attention->prepared_bytes() + layer.ffn->prepared_bytes();
  }
  for (const auto* side : {&cache_.keys, &cache_.values}) {
    for (const DeviceArray& array : *side) memory.kv_cache += array.bytes();
  }
  return memory;
}

Result<StepResult> ModelExecutor::run(const Step& step) {
  if (step.num_tokens() > options_.max_step_tokens ||
      static_cast<int>(step.decode.size()) > options_.max_decode_rows ||
      static_cast<int>(step.prefill.size()) > kMaxSequences) {
    throw std::logic_error("a step beyond the executor's limits");
  }
  const auto start = SteadyClock::now();
  const std::optional<double> waited_ns = device_.waited_ns();
  Result<StepResult> result = try_run(step);
  // Nothing of a step that failed stays but keys and values, which are written again.
  if (!result && dispatch_.take_back(result.error())) result = try_run(step);
  if (!result) return result;
  FIB_CHECK(save_stash());
  if (waited_ns) {
    const std::chrono::duration<double, std::nano> all = SteadyClock::now() - start;
    result->host_ns = all.count() - (*device_.waited_ns() - *waited_ns);
  }
  return result;
}

bool ModelExecutor::tend() {
  const bool has_more = dispatch_.tend();
  drop_old_graphs();
  return has_more;
}

void ModelExecutor::drop_old_graphs() {
  if (std::exchange(graph_generation_, dispatch_.generation()) != dispatch_.generation()) {
    graphs_.clear();
  }
}

Result<StepResult> ModelExecutor::try_run(const Step& step) {
  const Dispatch::StepManner asked = dispatch_.begin_step();
  drop_old_graphs();
  unstashed_ = {};
  const int rows = graph_rows(step);
  const Manner manner = manner_of(step, asked, rows);
  if (manner != Manner::kTimed) return run_as(step, rows, manner);
  StepResult result;
  FIB_CHECK(dispatch_.time_calls([&]() -> Result<void> {
    result = FIB_TRY(run_as(step, rows, manner));
    return {};
  }));
  return result;
}

int ModelExecutor::graph_rows(const Step& step) const {
  const bool may_be_one = options_.graphs == GraphUse::kWhereAble && device_.can_capture() &&
                          !probe_ && step.prefill.empty();
  return may_be_one ? bucket_of(static_cast<int>(step.decode.size())) : 0;
}

ModelExecutor::Manner ModelExecutor::manner_of(const Step& step, Dispatch::StepManner asked,
                                               int graph_rows) {
  const bool has_prefill = !step.prefill.empty();
  const int every = has_prefill && options_.profile_prefill_every > 0
                        ? options_.profile_prefill_every
                        : options_.profile_every;
  uint64_t& num_steps = has_prefill ? num_prefill_steps_ : num_decode_steps_;
  const bool is_due = every > 0 && ++num_steps % static_cast<uint64_t>(every) == 0;
  if (asked == Dispatch::StepManner::kCallByCall) return Manner::kCallByCall;
  // In the first step of a graph's size kernels make their plans, which isn't their time.
  const bool can_be_timed = graph_rows == 0 || graphs_.contains(graph_rows);
  return is_due && can_be_timed ? Manner::kTimed : Manner::kPlain;
}

Result<StepResult> ModelExecutor::run_as(const Step& step, int graph_rows, Manner manner) {
  StepResult result;
  FIB_CHECK(dispatch_.run_step([&]() -> Result<void> {
    FIB_CHECK(graph_rows > 0 ? run_graph(step, graph_rows, manner) : run_eager(step));
    if (dispatch_.wants_computed()) {
      FIB_CHECK(activations_.topk_ids.download(device_, computed_bytes_));
    }
    if (step.choices.empty()) return device_.synchronize();
    result.tokens = FIB_TRY(picker_.pick(logits_.data(), step.choices, packer_));
    return {};
  }));
  return result;
}

int ModelExecutor::bucket_of(int rows) const {
  for (const int bucket : kGraphRows) {
    if (bucket >= rows && bucket <= options_.max_decode_rows) return bucket;
  }
  return 0;
}

Result<void> ModelExecutor::run_eager(const Step& step) {
  const StepInputs inputs = FIB_TRY(
      packer_.pack(step, static_cast<int>(step.decode.size()), StepPacker::Use::kEager));
  std::vector<int> wanted;
  int row = inputs.decode_rows;
  for (const StepSegment& segment : step.prefill) {
    row += segment.num_tokens();
    if (segment.wants_token) wanted.push_back(row - 1);
  }
  return forward(inputs, step.prefill.empty() ? LayerRange{} : step.prefill_layers, wanted);
}

// The first step of a size runs as it is, which lets kernels grow their workspace, and is captured
// for those that come after it.
Result<void> ModelExecutor::run_graph(const Step& step, int rows, Manner manner) {
  const StepInputs inputs = FIB_TRY(packer_.pack(step, rows, StepPacker::Use::kGraph));
  if (manner == Manner::kCallByCall) return forward(inputs, {}, {});
  const auto capture = [&] {
    return dispatch_.capture([&] { return forward(inputs, {}, {}); });
  };
  if (const auto found = graphs_.find(rows); found != graphs_.end()) {
    StepGraphs& graphs = found->second;
    computed_bytes_ = graphs.computed_bytes;
    if (manner == Manner::kPlain) return graphs.plain->launch();
    if (!graphs.timed) graphs.timed = FIB_TRY(capture());
    return graphs.timed->launch();
  }
  FIB_CHECK(forward(inputs, {}, {}));
  FIB_CHECK(device_.synchronize());
  graphs_[rows] = {
      .plain = FIB_TRY(capture()), .timed = nullptr, .computed_bytes = computed_bytes_};
  return {};
}

Result<void> ModelExecutor::forward(const StepInputs& inputs, LayerRange prefill_layers,
                                    const std::vector<int>& wanted) {
  Activations& a = activations_;
  const int num_layers = limits_.num_layers;
  const int all_rows = inputs.decode_rows + inputs.prefill_rows;
  a.current = 0;
  a.topk_ids.begin_step();
  const bool starts = inputs.prefill_rows > 0 && prefill_layers.begin == 0;
  FIB_CHECK(embed(inputs, starts ? all_rows : inputs.decode_rows));
  FIB_CHECK(probe(-1, starts ? all_rows : inputs.decode_rows));
  for (int layer = 0; layer < num_layers; ++layer) {
    const auto at = static_cast<size_t>(layer);
    const bool has_prefill = layer >= prefill_layers.begin && layer < prefill_layers.end;
    const int rows = has_prefill ? all_rows : inputs.decode_rows;
    if (rows == 0) continue;
    if (has_prefill && layer == prefill_layers.begin && layer > 0) {
      FIB_CHECK(restore_stash(inputs.decode_rows, inputs.prefill_rows));
    }
    if (layer == 0) {
      const Operand in[] = {hidden(a.residual[0], rows), input_norms_[at]};
      const Operand out = hidden(a.normed, rows);
      FIB_CHECK(norm_->run({.inputs = in, .outputs = {&out, 1}}));
    } else {
      FIB_CHECK(normalise(rows, input_norms_[at]));
    }
    FIB_CHECK(layers_[at].attention->run(inputs, rows, a));
    FIB_CHECK(normalise(rows, post_norms_[at]));
    FIB_CHECK(layers_[at].ffn->run(inputs, rows, a));
    FIB_CHECK(probe(layer, rows));
    if (has_prefill && layer + 1 == prefill_layers.end && layer + 1 < num_layers) {
      // The layers that follow write other rows of these buffers alone.
      unstashed_ = {a.current, inputs.decode_rows, inputs.prefill_rows};
    }
  }
  computed_bytes_ = a.topk_ids.used_bytes();
  return project(inputs, wanted);
}

Result<void> ModelExecutor::embed(const StepInputs& inputs, int rows) {
  if (rows == 0) return {};
  Operand tokens = inputs.token_ids;
  tokens.shape[0] = rows;
  const Operand in[] = {tokens, embedding_};
  const Operand out = hidden(activations_.residual[0], rows);
  return embed_->run({.inputs = in, .outputs = {&out, 1}, .values = inputs.values});
}

Result<void> ModelExecutor::normalise(int rows, Operand weight) {
  Activations& a = activations_;
  const auto from = static_cast<size_t>(a.current);
  const Operand in[] = {hidden(a.delta, rows), hidden(a.residual[from], rows), weight};
  const Operand out[] = {hidden(a.normed, rows), hidden(a.residual[1 - from], rows)};
  a.current = 1 - a.current;
  return add_norm_->run({.inputs = in, .outputs = out});
}

Result<void> ModelExecutor::restore_stash(int first_row, int rows) {
  if (stash_rows_ != rows) {
    throw std::logic_error("a cohort goes on with other rows than it was stashed with");
  }
  const size_t offset = static_cast<size_t>(first_row) * row_bytes();
  const size_t bytes = static_cast<size_t>(rows) * row_bytes();
  Activations& a = activations_;
  FIB_CHECK(device_.copy(a.residual[static_cast<size_t>(a.current)].data() + offset,
                         stash_residual_.data(), bytes));
  return device_.copy(a.delta.data() + offset, stash_delta_.data(), bytes);
}

Result<void> ModelExecutor::save_stash() {
  const auto [buffer, first_row, rows] = unstashed_;
  if (rows == 0) return {};
  const size_t offset = static_cast<size_t>(first_row) * row_bytes();
  const size_t bytes = static_cast<size_t>(rows) * row_bytes();
  stash_rows_ = rows;
  FIB_CHECK(device_.copy(stash_residual_.data(),
                         activations_.residual[static_cast<size_t>(buffer)].data() + offset, bytes));
  return device_.copy(stash_delta_.data(), activations_.delta.data() + offset, bytes);
}

// Logits of the decode rows, then of the wanted prefill rows. With prefill rows these are gathered
// first.
Result<void> ModelExecutor::project(const StepInputs& inputs, const std::vector<int>& wanted) {
  Activations& a = activations_;
  const int rows = inputs.decode_rows + static_cast<int>(wanted.size());
  if (rows == 0) return {};
  const DeviceArray& residual = a.residual[static_cast<size_t>(a.current)];
  const DeviceArray* from_delta = &a.delta;
  const DeviceArray* from_residual = &residual;
  if (!wanted.empty()) {
    const size_t bytes = row_bytes();
    const auto gather = [&](const DeviceArray& from, const DeviceArray& to) -> Result<void> {
      if (inputs.decode_rows > 0) {
        FIB_CHECK(device_.copy(to.data(), from.data(),
                               static_cast<size_t>(inputs.decode_rows) * bytes));
      }
      std::byte* next = to.data() + static_cast<size_t>(inputs.decode_rows) * bytes;
      for (const int row : wanted) {
        FIB_CHECK(device_.copy(next, from.data() + static_cast<size_t>(row) * bytes, bytes));
        next += bytes;
      }
      return {};
    };
    FIB_CHECK(gather(a.delta, wanted_delta_));
    FIB_CHECK(gather(residual, wanted_residual_));
    from_delta = &wanted_delta_;
    from_residual = &wanted_residual_;
  }
  const Operand in[] = {hidden(*from_delta, rows), hidden(*from_residual, rows), final_norm_};
  const Operand out[] = {hidden(a.normed, rows),
                         hidden(a.residual[static_cast<size_t>(1 - a.current)], rows)};
  FIB_CHECK(add_norm_->run({.inputs = in, .outputs = out}));
  FIB_CHECK(lm_head_.run(a.normed.data(), logits_.data(), rows));
  return probe(limits_.num_layers, rows);
}

// The stream after a layer is residual + delta, of which only the sum is comparable.
Result<void> ModelExecutor::probe(int layer, int rows) {
  if (!probe_ || rows == 0) return {};
  const auto fetch = [&](const DeviceArray& array, size_t bytes) -> Result<std::vector<std::byte>> {
    std::vector<std::byte> values(bytes);
    FIB_CHECK(device_.download(values.data(), array.data(), bytes));
    FIB_CHECK(device_.synchronize());
    return values;
  };
  if (layer == limits_.num_layers) {
    const size_t logit_bytes = static_cast<size_t>(config_.vocab_size) * sizeof(float);
    probe_(layer, rows, FIB_TRY(fetch(logits_, static_cast<size_t>(rows) * logit_bytes)));
    return {};
  }
  const size_t bytes = static_cast<size_t>(rows) * row_bytes();
  const auto current = static_cast<size_t>(activations_.current);
  std::vector<std::byte> stream = FIB_TRY(fetch(activations_.residual[current], bytes));
  if (layer >= 0) {
    const std::vector<std::byte> delta = FIB_TRY(fetch(activations_.delta, bytes));
    for (int64_t i = 0; i < static_cast<int64_t>(bytes / 2); ++i) {
      store_element(DType::kBFloat16, stream.data(), i,
                    load_element(DType::kBFloat16, stream.data(), i) +
                        load_element(DType::kBFloat16, delta.data(), i));
    }
  }
  probe_(layer, rows, stream);
  return {};
}

}  // namespace fib
