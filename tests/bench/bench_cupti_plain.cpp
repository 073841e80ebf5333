// A plain CUPTI program that shares no code with the runner: it times an empty kernel and a copy of
// 1 MiB the way NVIDIA's samples do, to hold against what the runner's clock says of the same two
// kernels (CudaClockTest prints them). Opens libcuda, libnvrtc and libcupti itself.
//
//   bench_cupti_plain [libcupti.so.13 [libnvrtc.so.13]]

#include <cuda.h>
#include <cupti.h>
#include <dlfcn.h>
#include <nvrtc.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace {

decltype(&::cuptiActivityGetNextRecord) next_record = nullptr;
std::map<std::string, std::vector<double>> durations;

void CUPTIAPI request(uint8_t** buffer, size_t* size, size_t* records) {
  *size = 1 << 20;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, *size));
  *records = 0;
}

void CUPTIAPI complete(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  CUpti_Activity* record = nullptr;
  while (next_record(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel9*>(record);
    durations[kernel->name].push_back(static_cast<double>(kernel->end - kernel->start));
  }
  std::free(buffer);
}

void* open_or_exit(const char* name) {
  void* library = dlopen(name, RTLD_NOW);
  if (!library) {
    std::printf("skipped: %s\n", dlerror());
    std::exit(0);
  }
  return library;
}

void require(bool ok, const char* what) {
  if (ok) return;
  std::printf("failed: %s\n", what);
  std::exit(1);
}

}  // namespace


int main(int argc, char** argv) {
  void* cupti = open_or_exit(argc > 1 ? argv[1] : "libcupti.so.13");
  void* nvrtc = open_or_exit(argc > 2 ? argv[2] : "libnvrtc.so.13");
  void* cuda = open_or_exit("libcuda.so.1");
  const auto get = [](void* library, const char* name) { return dlsym(library, name); };

  const auto enable = reinterpret_cast<decltype(&::cuptiActivityEnable)>(get(cupti, "cuptiActivityEnable"));
  const auto callbacks = reinterpret_cast<decltype(&::cuptiActivityRegisterCallbacks)>(
      get(cupti, "cuptiActivityRegisterCallbacks"));
  const auto flush = reinterpret_cast<decltype(&::cuptiActivityFlushAll)>(get(cupti, "cuptiActivityFlushAll"));
  next_record = reinterpret_cast<decltype(next_record)>(get(cupti, "cuptiActivityGetNextRecord"));
  require(enable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) == CUPTI_SUCCESS, "cuptiActivityEnable");
  require(callbacks(request, complete) == CUPTI_SUCCESS, "cuptiActivityRegisterCallbacks");

  const auto init = reinterpret_cast<decltype(&::cuInit)>(get(cuda, "cuInit"));
  const auto retain = reinterpret_cast<decltype(&::cuDevicePrimaryCtxRetain)>(get(cuda, "cuDevicePrimaryCtxRetain"));
  const auto set_current = reinterpret_cast<decltype(&::cuCtxSetCurrent)>(get(cuda, "cuCtxSetCurrent"));
  const auto synchronize = reinterpret_cast<decltype(&::cuCtxSynchronize)>(get(cuda, "cuCtxSynchronize"));
  const auto load = reinterpret_cast<decltype(&::cuModuleLoadData)>(get(cuda, "cuModuleLoadData"));
  const auto find = reinterpret_cast<decltype(&::cuModuleGetFunction)>(get(cuda, "cuModuleGetFunction"));
  const auto launch = reinterpret_cast<decltype(&::cuLaunchKernel)>(get(cuda, "cuLaunchKernel"));
  const auto allocate = reinterpret_cast<decltype(&::cuMemAlloc)>(get(cuda, "cuMemAlloc_v2"));
  if (init(0) != CUDA_SUCCESS) {
    std::printf("skipped: no device\n");
    return 0;
  }
  CUcontext context = nullptr;
  require(retain(&context, 0) == CUDA_SUCCESS && set_current(context) == CUDA_SUCCESS, "context");

  std::ifstream file(FIB_SOURCE_DIR "/tests/runners/cuda_candidates/clock.cu");
  std::stringstream source;
  source << file.rdbuf();
  const auto create = reinterpret_cast<decltype(&::nvrtcCreateProgram)>(get(nvrtc, "nvrtcCreateProgram"));
  const auto compile = reinterpret_cast<decltype(&::nvrtcCompileProgram)>(get(nvrtc, "nvrtcCompileProgram"));
  const auto ptx_size = reinterpret_cast<decltype(&::nvrtcGetPTXSize)>(get(nvrtc, "nvrtcGetPTXSize"));
  const auto ptx = reinterpret_cast<decltype(&::nvrtcGetPTX)>(get(nvrtc, "nvrtcGetPTX"));
  nvrtcProgram program = nullptr;
  const char* options[] = {"-default-device"};
  require(create(&program, source.str().c_str(), "clock.cu", 0, nullptr, nullptr) == NVRTC_SUCCESS &&
              compile(program, 1, options) == NVRTC_SUCCESS, "clock.cu");
  size_t size = 0;
  ptx_size(program, &size);
  std::string text(size, '\0');
  ptx(program, text.data());

  CUmodule module = nullptr;
  CUfunction nothing = nullptr, copy = nullptr;
  CUdeviceptr in = 0, out = 0;
  require(load(&module, text.c_str()) == CUDA_SUCCESS, "cuModuleLoadData");
  require(find(&nothing, module, "do_nothing") == CUDA_SUCCESS, "do_nothing");
  require(find(&copy, module, "copy_vectors") == CUDA_SUCCESS, "copy_vectors");
  require(allocate(&in, 1 << 20) == CUDA_SUCCESS && allocate(&out, 1 << 20) == CUDA_SUCCESS, "memory");
  int count = (1 << 20) / 16;
  void* arguments[] = {&in, &out, &count};
  for (int i = 0; i < 500; ++i) {
    launch(nothing, 1, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr);
    synchronize();
    launch(copy, static_cast<unsigned>(count) / 256, 1, 1, 256, 1, 1, 0, nullptr, arguments, nullptr);
    synchronize();
  }
  require(flush(0) == CUPTI_SUCCESS, "cuptiActivityFlushAll");
  for (auto& [name, times] : durations) {
    std::sort(times.begin(), times.end());
    std::printf("plain %-14s median %.0f ns of %zu\n", name.c_str(), times[times.size() / 2],
                times.size());
  }
}
