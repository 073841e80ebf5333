#include "runners/cuda/libraries.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace fib {
namespace {

namespace fs = std::filesystem;

struct LibraryFiles {
  std::string_view name;
  std::vector<std::string> files;  // best first
  std::string_view remedy;
};

LibraryFiles files_of(CudaLibrary library) {
  switch (library) {
    case CudaLibrary::kNvrtc:
      return {"nvrtc",
              {"libnvrtc.so.13", "libnvrtc.so.12"},
              "run scripts/quickstart --cuda, or pip install nvidia-cuda-nvrtc"};
    case CudaLibrary::kCupti:
      return {"cupti",
              {"libcupti.so.13", "libcupti.so.12"},
              "run scripts/quickstart --cuda, or pip install nvidia-cuda-cupti"};
    case CudaLibrary::kNvml: break;
  }
  return {"nvml", {"libnvidia-ml.so.1"}, "it comes with the NVIDIA driver"};
}

// Sorted entries of `folder` whose names start with `prefix`, the highest version first.
std::vector<fs::path> entries_with_prefix(const fs::path& folder, std::string_view prefix) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().starts_with(prefix)) found.push_back(entry.path());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

// Toolkit-like roots: each may have lib64, lib, include and so on.
std::vector<fs::path> toolkit_roots(const CudaSearch& search) {
  std::vector<fs::path> roots = search.roots;
  if (!search.cache_folder.empty()) roots.push_back(search.cache_folder / "cuda");
  roots.push_back("/usr/local/cuda");
  for (const fs::path& versioned : entries_with_prefix("/usr/local", "cuda-")) {
    roots.push_back(versioned);
  }
  roots.push_back("/opt/cuda");
  // NVIDIA's wheels: <prefix>/lib/python3.12/site-packages/nvidia/{cu13,cuda_nvrtc,...}.
  std::vector<fs::path> prefixes = search.python_prefixes;
  prefixes.insert(prefixes.end(), {"/usr/local", "/usr"});
  for (const fs::path& prefix : prefixes) {
    for (const fs::path& python : entries_with_prefix(prefix / "lib", "python3")) {
      for (const char* packages : {"site-packages", "dist-packages"}) {
        const auto wheels = entries_with_prefix(python / packages / "nvidia", "cu");
        roots.insert(roots.end(), wheels.begin(), wheels.end());
      }
    }
  }
  return roots;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

}  // namespace

std::string_view cuda_library_name(CudaLibrary library) { return files_of(library).name; }

std::vector<fs::path> cuda_library_folders(const CudaSearch& search) {
  std::vector<fs::path> folders;
  const auto add = [&](fs::path folder) {
    if (is_there(folder) && std::find(folders.begin(), folders.end(), folder) == folders.end()) {
      folders.push_back(std::move(folder));
    }
  };
  for (const fs::path& root : toolkit_roots(search)) {
    for (const char* below : {"lib64", "lib", "targets/x86_64-linux/lib", "extras/CUPTI/lib64"}) {
      add(root / below);
    }
  }
  for (const char* system : {"/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib/wsl/lib",
                             "/usr/local/nvidia/lib64", "/usr/local/nvidia/lib"}) {
    add(system);
  }
  return folders;
}

Result<fs::path> find_cuda_library(const CudaSearch& search, CudaLibrary library) {
  const LibraryFiles wanted = files_of(library);
  const std::vector<fs::path> folders = cuda_library_folders(search);
  for (const std::string& file : wanted.files) {
    for (const fs::path& folder : folders) {
      if (is_there(folder / file)) return folder / file;
    }
    // The loader knows more: ld.so.cache, LD_LIBRARY_PATH. The library stays loaded otherwise,
    // so it is only asked whether it can.
    if (void* handle = dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL)) {
      dlclose(handle);
      return fs::path(file);
    }
  }
  std::string searched;
  for (const fs::path& folder : folders) searched += (searched.empty() ? "" : ", ") + folder.string();
  return fail(ErrorCode::kEnvironment,
              fmt::format("{} not found; searched {} and the loader's path", wanted.files.front(),
                          searched.empty() ? "no folder" : searched),
              std::string(wanted.name), std::string(wanted.remedy));
}

std::optional<fs::path> find_cuda_headers(const CudaSearch& search) {
  for (const fs::path& root : toolkit_roots(search)) {
    for (const char* below : {"include", "targets/x86_64-linux/include"}) {
      if (is_there(root / below / "cuda_fp16.h") && is_there(root / below / "cuda_bf16.h")) {
        return root / below;
      }
    }
  }
  if (is_there("/usr/include/cuda_fp16.h")) return fs::path("/usr/include");
  return std::nullopt;
}

std::string describe_throttle_reasons(uint64_t reasons) {
  struct Reason {
    uint64_t bit;
    std::string_view text;
  };
  static constexpr std::array kReasons = {
      Reason{0x1, "idle"},
      Reason{0x2, "application clocks setting"},
      Reason{0x4, "software power cap"},
      Reason{0x8, "hardware slowdown"},
      Reason{0x10, "sync boost"},
      Reason{0x20, "software thermal slowdown"},
      Reason{0x40, "hardware thermal slowdown"},
      Reason{0x80, "hardware power brake"},
      Reason{0x100, "display clock setting"},
  };
  std::string text;
  for (const Reason& reason : kReasons) {
    if (reasons & reason.bit) text += (text.empty() ? "" : ", ") + std::string(reason.text);
  }
  return text.empty() ? "none" : text;
}

}  // namespace fib
