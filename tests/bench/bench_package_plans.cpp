// What a call of each signature of a real package costs before the driver has it: real plans, real
// arguments and tensor maps, on a driver that does nothing (fake_cuda.cpp). The goal is 100 ns for
// shapes that were seen before and 20 us for new ones.
//
//   bench_package_plans PACKAGE [benchmark's own options]
//
// PACKAGE: a folder that `fib export OUT --house --arch sm_90a --signature ...` wrote.

#include <benchmark/benchmark.h>
#include <dlfcn.h>

#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "integrations/package/include/fib_kernels.h"

namespace fib {
namespace {

constexpr int64_t kRequests = 8, kPageTokens = 16, kPagesOfARequest = 19;

// Of a step that decodes some requests, or prefills a token of each.
int64_t axis_of(std::string_view name, int64_t requests) {
  const std::map<std::string_view, int64_t> sizes = {
      {"len_indptr", requests + 1},
      {"num_kv_indices", requests * kPagesOfARequest},
      {"num_pages", 4096},
      {"max_positions", 4096}};
  const auto known = sizes.find(name);
  return known == sizes.end() ? requests : known->second;
}

// One call with bare addresses, none of which is read.
class PlannedCall {
 public:
  PlannedCall(const fib_kernels_api& api, fib_kernels_device* device,
              const fib_kernels_signature_info& info)
      : api_(api), info_(info) {
    require(api.find(device, info.name, info.parameters, static_cast<size_t>(info.num_parameters),
                     &op_));
    inputs_.resize(static_cast<size_t>(info.num_inputs));
    outputs_.resize(static_cast<size_t>(info.num_outputs));
    scalars_.assign(inputs_.size(), 0.125);
    for (void*& output : outputs_) output = next_address();
    set_layer(0);
    set_requests(kRequests);
    raw_.axes = axes_.data();
    raw_.inputs = inputs_.data();
    raw_.outputs = outputs_.data();
    raw_.scalars = scalars_.data();
    if (api.raw_workspace_bytes(op_, &raw_, &raw_.workspace_bytes) == FIB_KERNELS_UNSUPPORTED) {
      bring_host_copies();
      require(api.raw_workspace_bytes(op_, &raw_, &raw_.workspace_bytes));
    }
    raw_.workspace = next_address();
  }
  PlannedCall(const PlannedCall&) = delete;
  PlannedCall& operator=(const PlannedCall&) = delete;

  // Inputs of another layer: the same shapes elsewhere.
  void set_layer(uintptr_t layer) {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      inputs_[i] = reinterpret_cast<void*>((layer * 64 + i + 1) << 28);
    }
  }
  void set_requests(int64_t requests) {
    axes_.clear();
    for (int32_t i = 0; i < info_.num_axes; ++i) {
      const fib_kernels_axis_info& axis = *fib_kernels_axis_at(&info_, i);
      if (axis.value < 0) axes_.push_back(axis_of(axis.name, requests));
    }
    raw_.axes = axes_.data();
    if (raw_.host_inputs != nullptr) fill_host_copies(requests);
  }
  void launch() { require(api_.launch_raw(op_, &raw_)); }
  size_t plan() {
    size_t bytes = 0;
    require(api_.raw_workspace_bytes(op_, &raw_, &bytes));
    return bytes;
  }
  std::string solution() const {
    fib_kernels_choice choice{.struct_size = sizeof choice};
    require(api_.raw_choose(op_, &raw_, &choice));
    return choice.solution == nullptr ? "none" : choice.solution;
  }

 private:
  // Prefill's plans look at who has how many tokens: one each, after some pages.
  void bring_host_copies() {
    copies_.resize(inputs_.size());
    host_inputs_.assign(inputs_.size(), nullptr);
    raw_.host_inputs = host_inputs_.data();
    fill_host_copies(kRequests);
  }
  void fill_host_copies(int64_t requests) {
    for (size_t i = 0; i < copies_.size(); ++i) {
      const fib_kernels_tensor_info& input = *fib_kernels_input_at(&info_, static_cast<int32_t>(i));
      if (input.is_host_visible == 0) continue;
      const std::string_view name = input.name;
      const int64_t step = name == "kv_indptr" ? kPagesOfARequest : name == "qo_indptr" ? 1 : 0;
      copies_[i].clear();
      for (int64_t r = 0; r <= requests; ++r) {
        copies_[i].push_back(static_cast<int32_t>(step == 0 ? kPageTokens / 2 : r * step));
      }
      host_inputs_[i] = copies_[i].data();
    }
  }
  void require(fib_kernels_status status) const {
    if (status != FIB_KERNELS_OK) throw std::runtime_error(api_.last_error());
  }
  void* next_address() { return reinterpret_cast<void*>(next_ += uintptr_t{1} << 36); }

  const fib_kernels_api& api_;
  const fib_kernels_signature_info& info_;
  const fib_kernels_op* op_ = nullptr;
  uintptr_t next_ = uintptr_t{1} << 44;
  std::vector<int64_t> axes_;
  std::vector<void*> inputs_, outputs_;
  std::vector<double> scalars_;
  std::vector<std::vector<int32_t>> copies_;
  std::vector<const void*> host_inputs_;
  fib_kernels_raw_call raw_ = FIB_KERNELS_RAW_CALL_INIT;
};

template <class Body>
void measure(benchmark::State& state, const Body& body) {
  try {
    body();
  } catch (const std::exception& error) {
    state.SkipWithError(error.what());
  }
}

void add(const fib_kernels_api& api, fib_kernels_device* device,
         const fib_kernels_signature_info& info) {
  const std::string name = info.name;
  // Shapes that were seen, addresses of 32 layers in turn.
  benchmark::RegisterBenchmark((name + "/known").c_str(), [&](benchmark::State& state) {
    measure(state, [&] {
      PlannedCall call(api, device, info);
      state.SetLabel(call.solution());
      uintptr_t layer = 0;
      for (auto _ : state) {
        call.set_layer(layer++ % 32);
        call.launch();
      }
    });
  });
  // More shapes in turn than are kept.
  benchmark::RegisterBenchmark((name + "/new").c_str(), [&](benchmark::State& state) {
    measure(state, [&] {
      PlannedCall call(api, device, info);
      int64_t requests = 0;
      for (auto _ : state) {
        call.set_requests(requests++ % 700 + 1);
        benchmark::DoNotOptimize(call.plan());
      }
    });
  });
}

const fib_kernels_api& load(const std::string& package) {
  // By its name alone the package finds the one that is there already.
  if (::dlopen(FIB_FAKE_CUDA, RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw std::runtime_error(::dlerror());
  }
  void* const library =
      ::dlopen((package + "/lib/libfib_kernels.so").c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw std::runtime_error(::dlerror());
  const auto get_api =
      reinterpret_cast<decltype(&fib_kernels_get_api)>(::dlsym(library, "fib_kernels_get_api"));
  const fib_kernels_api* const api = get_api == nullptr ? nullptr : get_api(FIB_KERNELS_ABI_MAJOR);
  if (api == nullptr) throw std::runtime_error(package + " is no package of this interface");
  return *api;
}

}  // namespace
}  // namespace fib

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (argc != 2) throw std::runtime_error("name a package with device code for sm_90a");
  const fib_kernels_api& api = fib::load(argv[1]);
  fib_kernels_device_options options = FIB_KERNELS_DEVICE_OPTIONS_INIT;
  options.device_type = kFibKernelsCuda;
  fib_kernels_device* device = nullptr;
  if (api.open(&options, &device) != FIB_KERNELS_OK) throw std::runtime_error(api.last_error());
  for (size_t i = 0; i < api.num_signatures(); ++i) fib::add(api, device, *api.signature(i));
  benchmark::RunSpecifiedBenchmarks();
  api.close(device);
}
