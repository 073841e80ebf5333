// What the serving engine asks of the house's cpu solutions: a row's bits depend neither on the
// other rows of its batch nor on the number of threads.

#include <dlfcn.h>

#include <cstring>

#include "runners/cpu/cpu_build.h"
#include "runners/cpu/worker_pool.h"
#include "tests/runners/cpu_fixture.h"

namespace fib {
namespace {

struct Case {
  std::string label;
  std::string family;     // path below signatures/definitions
  std::string signature;
  std::string rows_axis;  // the one var axis; every input but the weights starts with it
  std::string solution;   // path below leaderboard/solutions/cpu
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.label; }

// Shapes with edges: columns that don't fill a step along K, a tile, a vector, a piece of a row.
std::vector<Case> cases() {
  return {
      {"rmsnorm", "rmsnorm/rmsnorm", "rmsnorm_h144", "batch_size", "rmsnorm/rmsnorm-rows"},
      {"fused_add_rmsnorm_residual", "rmsnorm/fused_add_rmsnorm_residual",
       "fused_add_rmsnorm_residual_h144", "batch_size",
       "fused_add_rmsnorm_residual/fused-add-rmsnorm-residual-rows"},
      {"embedding", "embedding/embedding", "embedding_v100_h40", "num_tokens",
       "embedding/embedding-copy"},
      {"silu_and_mul", "activation/silu_and_mul", "silu_and_mul_i2070", "num_tokens",
       "silu_and_mul/silu-and-mul-rows"},
      {"gemm_bf16", "gemm/gemm_bf16", "gemm_bf16_n70_k200", "M", "gemm_bf16/gemm-bf16-dots"},
      {"gemm_bf16_f32", "gemm/gemm_bf16_f32", "gemm_bf16_f32_n70_k2056", "M",
       "gemm_bf16_f32/gemm-bf16-f32-dots"},
      {"moe_routing_softmax", "moe_routing/moe_routing_softmax", "moe_routing_softmax_topk5_e44",
       "num_tokens", "moe_routing_softmax/moe-routing-softmax-select"},
      {"moe_bf16", "moe/moe_bf16", "moe_bf16_topk3_e6_h144_i48", "num_tokens",
       "moe_bf16/moe-bf16-grouped"},
      {"moe_int4_g32", "moe/moe_int4_g32", "moe_int4_g32_topk3_e6_h160_i96", "num_tokens",
       "moe_int4_g32/moe-int4-grouped"},
      {"argmax", "sampling/argmax", "argmax_v40003", "num_tokens", "argmax/argmax-lanes"},
      {"sampling_from_logits", "sampling/sampling_from_logits", "sampling_from_logits_v1003",
       "num_tokens", "sampling_from_logits/sampling-thresholds"},
  };
}

using Bytes = std::vector<std::byte>;

// Memory as a call's tensors have it: aligned to 64 bytes.
struct Buffer {
  explicit Buffer(size_t size) : room(size + 64), bytes(size) {}
  std::byte* data() {
    void* aligned = room.data();
    size_t left = room.size();
    return static_cast<std::byte*>(std::align(64, bytes, aligned, left));
  }
  Bytes room;
  size_t bytes;
};

// A solution's library in this process.
class Library {
 public:
  explicit Library(const Artifact& artifact)
      : handle_(::dlopen((artifact.folder / kCpuLibraryName).c_str(), RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ == nullptr) throw std::runtime_error(::dlerror());
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;
  ~Library() { ::dlclose(handle_); }

  // The outputs of one call. `inputs`: the bytes of each, for the shapes of `problem`.
  std::vector<Bytes> run(const Problem& problem, const std::vector<Bytes>& inputs,
                         WorkerPool& pool) const {
    Tensors in(problem.inputs), out(problem.outputs);
    for (size_t i = 0; i < inputs.size(); ++i)
      std::memcpy(in.buffers[i].data(), inputs[i].data(), inputs[i].size());
    const std::vector<FibScalar> scalars(inputs.size());
    FibCall call{};
    call.abi_version = FIB_CPU_ABI_VERSION;
    call.num_inputs = static_cast<int32_t>(problem.inputs.size());
    call.num_outputs = static_cast<int32_t>(problem.outputs.size());
    call.num_threads = pool.size();
    call.inputs = in.tensors.data();
    call.scalars = scalars.data();
    call.outputs = out.tensors.data();
    call.parallel_for = [](const FibCall* own, int64_t count, int64_t grain, FibBody body,
                           void* context) {
      static_cast<WorkerPool*>(own->host)->run(count, grain, body, context);
    };
    call.host = &pool;
    using BytesOf = size_t (*)(const FibCall*);
    const auto bytes_of = reinterpret_cast<BytesOf>(::dlsym(handle_, "fib_workspace_bytes"));
    Buffer workspace(bytes_of == nullptr ? 0 : bytes_of(&call));
    std::memset(workspace.data(), 0xA5, workspace.bytes);
    call.workspace = workspace.data();
    call.workspace_bytes = workspace.bytes;
    using Run = int (*)(const FibCall*);
    EXPECT_EQ(reinterpret_cast<Run>(::dlsym(handle_, "fib_run"))(&call), 0);
    std::vector<Bytes> outputs;
    for (Buffer& buffer : out.buffers)
      outputs.emplace_back(buffer.data(), buffer.data() + buffer.bytes);
    return outputs;
  }

 private:
  struct Tensors {
    explicit Tensors(const std::vector<TensorDesc>& descs) : shapes(descs.size()) {
      for (size_t i = 0; i < descs.size(); ++i) {
        shapes[i] = descs[i].shape;
        FibTensor tensor{};
        tensor.data = buffers.emplace_back(descs[i].size_bytes()).data();
        tensor.ndim = static_cast<int32_t>(shapes[i].size());
        tensor.shape = shapes[i].data();
        tensors.push_back(tensor);
      }
    }
    std::vector<std::vector<int64_t>> shapes;
    std::vector<Buffer> buffers;
    std::vector<FibTensor> tensors;
  };

  void* handle_;
};

class CpuInvarianceTest : public CpuTest, public testing::WithParamInterface<Case> {
 protected:
  Problem problem(int64_t rows) const {
    return problem_of(signature_, {{GetParam().rows_axis, rows}});
  }
  static std::vector<Bytes> inputs_of(const Problem& problem) {
    std::vector<Bytes> inputs;
    for (const auto& source : open_sources(with_seed(must(plan_inputs(problem)), 11))) {
      inputs.emplace_back(source->desc().size_bytes());
      source->read_bytes(0, inputs.back());
    }
    return inputs;
  }
  static Bytes row_of(const Bytes& tensor, int64_t row, int64_t rows) {
    const auto size = static_cast<int64_t>(tensor.size()) / rows;
    return Bytes(tensor.begin() + row * size, tensor.begin() + (row + 1) * size);
  }
  std::vector<Bytes> row_inputs(const std::vector<Bytes>& inputs, int64_t row,
                                int64_t rows) const {
    std::vector<Bytes> alone;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const bool is_weight = signature_->is_weight(signature_->inputs[i].name);
      alone.push_back(is_weight ? inputs[i] : row_of(inputs[i], row, rows));
    }
    return alone;
  }

  SignaturePtr signature_ = signature_of(GetParam().family, GetParam().signature);
  Library library_{*artifact_of(must(read_solution_folder(source_folder() /
                                                          "leaderboard/solutions/cpu" /
                                                          GetParam().solution)),
                                *signature_)};
  WorkerPool alone_{1}, three_{3};
};

TEST_P(CpuInvarianceTest, ARowIsTheSameAloneAndInABatch) {
  const Problem one = problem(1);
  for (const int64_t rows : {7, 37}) {
    SCOPED_TRACE(rows);
    const Problem batch = problem(rows);
    const std::vector<Bytes> inputs = inputs_of(batch);
    const std::vector<Bytes> together = library_.run(batch, inputs, alone_);
    EXPECT_EQ(library_.run(batch, inputs, three_), together) << "on three threads";
    for (int64_t row = 0; row < rows; ++row) {
      const auto outputs = library_.run(one, row_inputs(inputs, row, rows), three_);
      for (size_t i = 0; i < outputs.size(); ++i)
        ASSERT_EQ(outputs[i], row_of(together[i], row, rows)) << "row " << row << ", output " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CpuInvarianceTest, testing::ValuesIn(cases()),
                         [](const auto& info) { return info.param.label; });

}  // namespace
}  // namespace fib
