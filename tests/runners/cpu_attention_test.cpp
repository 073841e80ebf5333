// The house's attention on the CPU: right against the references, and the same bits for a row
// whether it comes by prefill, in chunks or by decode, alone or in a batch.

#include <dlfcn.h>
#include <fib/cpu.h>
#include <fib/philox.h>

#include <cstring>
#include <limits>
#include <numeric>

#include "runners/cpu/cpu_build.h"
#include "tests/runners/cpu_fixture.h"

namespace fib {
namespace {

struct Shape {
  int64_t heads, kv_heads, dim, page_size;
};

void PrintTo(const Shape& shape, std::ostream* out) {
  *out << "h" << shape.heads << "_kv" << shape.kv_heads << "_d" << shape.dim << "_ps"
       << shape.page_size;
}

std::string name_of(const char* operation, const Shape& shape) {
  std::string name = std::string(operation) + "_h" + std::to_string(shape.heads) + "_kv" +
                     std::to_string(shape.kv_heads) + "_d" + std::to_string(shape.dim);
  return shape.page_size == 0 ? name : name + "_ps" + std::to_string(shape.page_size);
}

// A solution's library in this process.
class Library {
 public:
  explicit Library(const Artifact& artifact)
      : handle_(::dlopen((artifact.folder / kCpuLibraryName).c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(::dlerror());
  }
  Library(Library&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Library& operator=(Library&&) = delete;
  ~Library() {
    if (handle_ != nullptr) ::dlclose(handle_);
  }

  // The scale comes last among the inputs.
  void run(std::vector<FibTensor> inputs, std::vector<FibTensor> outputs, double scale) const {
    inputs.push_back({});
    std::vector<FibScalar> scalars(inputs.size());
    scalars.back().f = scale;
    FibCall call{};
    call.abi_version = FIB_CPU_ABI_VERSION;
    call.num_inputs = static_cast<int32_t>(inputs.size());
    call.num_outputs = static_cast<int32_t>(outputs.size());
    call.num_threads = 1;
    call.inputs = inputs.data();
    call.scalars = scalars.data();
    call.outputs = outputs.data();
    call.parallel_for = [](const FibCall*, int64_t count, int64_t, FibBody body, void* context) {
      // In pieces and backwards, as no solution may mind.
      constexpr int64_t kPiece = 3;
      for (int64_t begin = (count - 1) / kPiece * kPiece; begin >= 0; begin -= kPiece)
        body(begin, std::min(begin + kPiece, count), context);
    };
    using Bytes = size_t (*)(const FibCall*);
    using Run = int (*)(const FibCall*);
    const size_t bytes = symbol<Bytes>("fib_workspace_bytes")(&call);
    std::vector<std::max_align_t> space(bytes / sizeof(std::max_align_t) + 8);
    void* aligned = space.data();
    size_t left = space.size() * sizeof(std::max_align_t);
    call.workspace = std::align(64, bytes, aligned, left);
    call.workspace_bytes = bytes;
    ASSERT_EQ(symbol<Run>("fib_run")(&call), 0);
  }

 private:
  template <class Function>
  Function symbol(const char* name) const {
    return reinterpret_cast<Function>(::dlsym(handle_, name));
  }
  void* handle_;
};

template <class T>
FibTensor tensor(const std::vector<T>& values, std::vector<int64_t>& shape) {
  FibTensor tensor{};
  tensor.data = const_cast<T*>(values.data());
  tensor.ndim = static_cast<int32_t>(shape.size());
  tensor.shape = shape.data();
  return tensor;
}

std::vector<uint16_t> random_bf16(int64_t count, uint32_t stream) {
  std::vector<uint16_t> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = normal_from_bits(philox_element_bits(i, stream, 5));
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    values[i] = static_cast<uint16_t>(bits >> 16);
  }
  return values;
}

// [tokens, heads, dim] and [tokens, heads].
struct Rows {
  std::vector<uint16_t> output;
  std::vector<float> lse;

  Rows(int64_t tokens, const Shape& shape)
      : output(static_cast<size_t>(tokens * shape.heads * shape.dim), 0xFFFF),
        lse(static_cast<size_t>(tokens * shape.heads), std::numeric_limits<float>::quiet_NaN()) {}
  void append(const Rows& more) {
    output.insert(output.end(), more.output.begin(), more.output.end());
    lse.insert(lse.end(), more.lse.begin(), more.lse.end());
  }
  bool operator==(const Rows& other) const {
    return output == other.output && lse.size() == other.lse.size() &&
           std::memcmp(lse.data(), other.lse.data(), lse.size() * sizeof(float)) == 0;
  }
};

// Tokens `first` to `end` - 1 of the one sequence that these tests know, by its own page table.
struct Span {
  int64_t first, end;
};

class CpuAttentionTest : public CpuTest, public testing::WithParamInterface<Shape> {
 protected:
  static constexpr int64_t kTokens = 600;  // more than a run of keys, and no whole block

  std::filesystem::path solution(const std::string& path) const {
    return source_folder() / "leaderboard/solutions/cpu" / path;
  }
  Library library(const std::string& family, const std::string& solution_path, const char* op,
                  const Shape& shape) {
    const SignaturePtr signature = signature_of(family, name_of(op, shape));
    return Library(*artifact_of(must(read_solution_folder(solution(solution_path))), *signature));
  }
  Library prefill() {
    return is_single() ? library("gqa_paged/gqa_paged_prefill_causal",
                                 "gqa_paged_prefill_causal/gqa-prefill-tiles",
                                 "gqa_paged_prefill_causal", shape_)
                       : library("gqa_paged/gqa_paged_prefill_causal_last_page",
                                 "gqa_paged_prefill_causal_last_page/gqa-prefill-tiles-last-page",
                                 "gqa_paged_prefill_causal", shape_);
  }
  Library decode() {
    return is_single() ? library("gqa_paged/gqa_paged_decode", "gqa_paged_decode/gqa-decode-split",
                                 "gqa_paged_decode", shape_)
                       : library("gqa_paged/gqa_paged_decode_last_page",
                                 "gqa_paged_decode_last_page/gqa-decode-split-last-page",
                                 "gqa_paged_decode", shape_);
  }
  Library ragged() {
    return library("gqa_ragged/gqa_ragged_prefill_causal",
                   "gqa_ragged_prefill_causal/gqa-prefill-tiles-ragged",
                   "gqa_ragged_prefill_causal", {shape_.heads, shape_.kv_heads, shape_.dim, 0});
  }

  // Each span is a request of its own, over the sequence's keys up to the span's end.
  Rows run_paged(const Library& library, const std::vector<Span>& spans, bool is_decode) const {
    std::vector<int32_t> qo_indptr = {0}, kv_indptr = {0}, indices, last;
    std::vector<uint16_t> queries;
    const int64_t page = shape_.page_size;
    for (const Span& span : spans) {
      const int64_t pages = (span.end + page - 1) / page;
      qo_indptr.push_back(qo_indptr.back() + static_cast<int32_t>(span.end - span.first));
      kv_indptr.push_back(kv_indptr.back() + static_cast<int32_t>(pages));
      last.push_back(static_cast<int32_t>(span.end - (pages - 1) * page));
      for (int64_t i = 0; i < pages; ++i) indices.push_back(page_of(i));
      queries.insert(queries.end(), q_.begin() + span.first * shape_.heads * shape_.dim,
                     q_.begin() + span.end * shape_.heads * shape_.dim);
    }
    const int64_t tokens = qo_indptr.back();
    Rows rows(tokens, shape_);
    std::vector<int64_t> q_shape = {tokens, shape_.heads, shape_.dim}, lse = {tokens, shape_.heads};
    std::vector<int64_t> cache = {pages(), page, shape_.kv_heads, shape_.dim};
    std::vector<int64_t> offsets = {std::ssize(kv_indptr)}, used = {std::ssize(indices)};
    std::vector<int64_t> requests = {std::ssize(last)};
    std::vector<FibTensor> inputs = {tensor(queries, q_shape), tensor(k_, cache),
                                     tensor(v_, cache)};
    if (!is_decode) inputs.push_back(tensor(qo_indptr, offsets));
    inputs.push_back(tensor(kv_indptr, offsets));
    inputs.push_back(tensor(indices, used));
    if (!is_single()) inputs.push_back(tensor(last, requests));
    library.run(inputs, {tensor(rows.output, q_shape), tensor(rows.lse, lse)}, 0.1);
    return rows;
  }

  Rows run_ragged(const Library& library, int64_t tokens) const {
    const int64_t row = shape_.kv_heads * shape_.dim;
    std::vector<uint16_t> k, v,
        queries(q_.begin(), q_.begin() + tokens * shape_.heads * shape_.dim);
    for (int64_t token = 0; token < tokens; ++token) {
      const int64_t at =
          page_of(token / shape_.page_size) * shape_.page_size + token % shape_.page_size;
      k.insert(k.end(), k_.begin() + at * row, k_.begin() + (at + 1) * row);
      v.insert(v.end(), v_.begin() + at * row, v_.begin() + (at + 1) * row);
    }
    const std::vector<int32_t> indptr = {0, static_cast<int32_t>(tokens)};
    Rows rows(tokens, shape_);
    std::vector<int64_t> q_shape = {tokens, shape_.heads, shape_.dim}, lse = {tokens, shape_.heads};
    std::vector<int64_t> kv_shape = {tokens, shape_.kv_heads, shape_.dim}, two = {2};
    library.run({tensor(queries, q_shape), tensor(k, kv_shape), tensor(v, kv_shape),
                 tensor(indptr, two), tensor(indptr, two)},
                {tensor(rows.output, q_shape), tensor(rows.lse, lse)}, 0.1);
    return rows;
  }

  bool is_single() const { return shape_.page_size == 1; }
  int64_t pages() const { return (kTokens + shape_.page_size - 1) / shape_.page_size; }
  int32_t page_of(int64_t i) const { return static_cast<int32_t>(pages() - 1 - i); }

  Shape shape_ = GetParam();
  std::vector<uint16_t> q_ = random_bf16(kTokens * shape_.heads * shape_.dim, 0);
  std::vector<uint16_t> k_ = random_bf16(cache_elements(), 1);
  std::vector<uint16_t> v_ = random_bf16(cache_elements(), 2);

 private:
  int64_t cache_elements() const {
    return pages() * shape_.page_size * shape_.kv_heads * shape_.dim;
  }
};

TEST_P(CpuAttentionTest, PrefillIsDecodeTokenByToken) {
  const Rows whole = run_paged(prefill(), {{0, 40}}, false);
  const Library decoder = decode();
  Rows stepwise(0, shape_);
  for (int64_t token = 0; token < 40; ++token)
    stepwise.append(run_paged(decoder, {{token, token + 1}}, true));
  EXPECT_TRUE(whole == stepwise);

  // At the end of a long sequence, all in one batch.
  std::vector<Span> last;
  for (int64_t token = kTokens - 40; token < kTokens; ++token) last.push_back({token, token + 1});
  EXPECT_TRUE(run_paged(prefill(), {{kTokens - 40, kTokens}}, false) ==
              run_paged(decoder, last, true));
}

TEST_P(CpuAttentionTest, AppendingInChunksIsTheWhole) {
  const Library library = prefill();
  Rows chunks(0, shape_);
  int64_t first = 0;
  for (const int64_t end : {int64_t{1}, int64_t{34}, int64_t{300}, kTokens}) {
    chunks.append(run_paged(library, {{first, end}}, false));
    first = end;
  }
  EXPECT_TRUE(run_paged(library, {{0, kTokens}}, false) == chunks);
}

TEST_P(CpuAttentionTest, TheRestOfTheBatchChangesNothing) {
  const Library library = prefill();
  const std::vector<Span> spans = {{3, 50}, {580, 581}, {0, 9}, {500, 600}};
  Rows alone(0, shape_);
  for (const Span& span : spans) alone.append(run_paged(library, {span}, false));
  EXPECT_TRUE(run_paged(library, spans, false) == alone);
}

TEST_P(CpuAttentionTest, RaggedIsPaged) {
  EXPECT_TRUE(run_ragged(ragged(), 150) == run_paged(prefill(), {{0, 150}}, false));
}

INSTANTIATE_TEST_SUITE_P(All, CpuAttentionTest,
                         testing::Values(Shape{4, 2, 64, 16}, Shape{8, 1, 128, 1},
                                         Shape{5, 1, 96, 16}),
                         [](const auto& info) {
                           return "h" + std::to_string(info.param.heads) + "_d" +
                                  std::to_string(info.param.dim);
                         });

// ---- Against the references.

struct Case {
  std::string label, family, signature;
  std::vector<std::pair<std::string, int64_t>> axes;
  std::string solution;  // below leaderboard/solutions/cpu
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.label; }

class CpuPrefillTest : public CpuTest, public testing::WithParamInterface<Case> {};

TEST_P(CpuPrefillTest, IsRight) {
  config_.modes = {};
  const Case& c = GetParam();
  const Problem problem = problem_of(signature_of(c.family, c.signature), c.axes);
  const Solution solution =
      must(read_solution_folder(source_folder() / "leaderboard/solutions/cpu" / c.solution));
  EXPECT_TRUE(runner().supports(solution, *problem.signature).ok);
  expect_right(measure_one(problem, solution), problem);
}

INSTANTIATE_TEST_SUITE_P(
    All, CpuPrefillTest,
    testing::Values(
        Case{"single",
             "gqa_paged/gqa_paged_prefill_causal",
             "gqa_paged_prefill_causal_h8_kv2_d32_ps1",
             {{"len_indptr", 6}, {"total_q", 150}, {"num_kv_indices", 1400}, {"num_pages", 1500}},
             "gqa_paged_prefill_causal/gqa-prefill-tiles"},
        Case{"pages",
             "gqa_paged/gqa_paged_prefill_causal_last_page",
             "gqa_paged_prefill_causal_h6_kv2_d64_ps16",
             {{"len_indptr", 6},
              {"total_q", 150},
              {"num_kv_indices", 80},
              {"num_pages", 90},
              {"batch_size", 5}},
             "gqa_paged_prefill_causal_last_page/gqa-prefill-tiles-last-page"},
        // Fewer keys than queries: the first queries of some requests see none.
        Case{"blind",
             "gqa_ragged/gqa_ragged_prefill_causal",
             "gqa_ragged_prefill_causal_h4_kv2_d64",
             {{"len_indptr", 4}, {"total_q", 90}, {"total_kv", 60}},
             "gqa_ragged_prefill_causal/gqa-prefill-tiles-ragged"},
        Case{"ragged",
             "gqa_ragged/gqa_ragged_prefill_causal",
             "gqa_ragged_prefill_causal_h4_kv1_d128",
             {{"len_indptr", 4}, {"total_q", 90}, {"total_kv", 700}},
             "gqa_ragged_prefill_causal/gqa-prefill-tiles-ragged"}),
    [](const auto& info) { return info.param.label; });

}  // namespace
}  // namespace fib
