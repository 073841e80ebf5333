#include "runners/cuda/nvrtc_compile.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <nvrtc.h>

#include <algorithm>
#include <charconv>

namespace fib {
namespace {

#define FIB_NVRTC_FUNCTIONS(X)                                                              \
  X(nvrtcVersion) X(nvrtcGetErrorString) X(nvrtcCreateProgram) X(nvrtcDestroyProgram)       \
  X(nvrtcCompileProgram) X(nvrtcAddNameExpression) X(nvrtcGetLoweredName)                   \
  X(nvrtcGetProgramLogSize) X(nvrtcGetProgramLog) X(nvrtcGetCUBINSize) X(nvrtcGetCUBIN)

// libnvrtc looks for its builtins by name alone; loaded first by path, they are found wherever
// they are.
void preload_builtins(const std::filesystem::path& library) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(library.parent_path(), ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("libnvrtc-builtins.so.")) dlopen(entry.path().c_str(), RTLD_NOW);
  }
}

int number_before(std::string_view line, std::string_view unit) {
  const size_t at = line.find(unit);
  if (at == std::string_view::npos) return 0;
  size_t begin = at;
  while (begin > 0 && line[begin - 1] >= '0' && line[begin - 1] <= '9') --begin;
  int value = 0;
  std::from_chars(line.data() + begin, line.data() + at, value);
  return value;
}

std::string quoted(std::string_view line) {
  const size_t open = line.find('\'');
  const size_t close = line.find('\'', open + 1);
  return close == std::string_view::npos ? std::string() : std::string(line.substr(open + 1, close - open - 1));
}

// Of ptxas's information: what it says of how fast the code will be, not of what it takes.
bool costs_time(std::string_view line) {
  return line.find("Performance Loss") != std::string_view::npos ||
         line.find("warpgroup.wait is injected") != std::string_view::npos;
}

// " in around line 785": of the PTX, which the author doesn't see.
std::string without_line_of_ptx(std::string_view line) {
  constexpr std::string_view kMark = " in around line ";
  const size_t begin = line.find(kMark);
  if (begin == std::string_view::npos) return std::string(line);
  const size_t end = line.find_first_not_of("0123456789", begin + kMark.size());
  return fmt::format("{}{}", line.substr(0, begin),
                     end == std::string_view::npos ? "" : line.substr(end));
}

// Lines of a kernel, and behind them of functions that it calls and that have frames of their own.
void read_properties(std::string_view line, KernelResources& kernel) {
  if (line.find("spill stores") != std::string_view::npos) {
    kernel.stack_bytes = std::max(kernel.stack_bytes, number_before(line, " bytes stack frame"));
    kernel.spill_bytes += number_before(line, " bytes spill stores") +
                          number_before(line, " bytes spill loads");
  } else if (line.find("Used ") != std::string_view::npos) {
    kernel.registers = number_before(line, " registers");
    kernel.static_shared_bytes = number_before(line, " bytes smem");
    kernel.stack_bytes =
        std::max(kernel.stack_bytes, number_before(line, " bytes cumulative stack size"));
  }
}

// Kernels as the author calls them: ptxas knows their symbols only.
void name_kernels(NvrtcResult& result) {
  for (const auto& [name, symbol] : result.lowered) {
    const std::string from = fmt::format("'{}'", symbol), to = fmt::format("'{}'", name);
    for (size_t at = result.log.find(from); at != std::string::npos;
         at = result.log.find(from, at + to.size())) {
      result.log.replace(at, from.size(), to);
    }
  }
}

Json sources_to_json(const std::vector<SourceFile>& sources) {
  Json json = Json::array();
  for (const SourceFile& source : sources) json.push_back({{"path", source.path}, {"content", source.content}});
  return json;
}

Result<SourceFile> source_from_json(const JsonView& view) {
  return SourceFile{FIB_TRY(FIB_TRY(view.at("path")).string()),
                    FIB_TRY(FIB_TRY(view.at("content")).string())};
}

}  // namespace

struct Nvrtc::Functions {
#define FIB_DECLARE(name) decltype(&::name) name = nullptr;
  FIB_NVRTC_FUNCTIONS(FIB_DECLARE)
#undef FIB_DECLARE
};

Nvrtc::Nvrtc() = default;
Nvrtc::~Nvrtc() = default;

Result<std::unique_ptr<Nvrtc>> Nvrtc::open(const std::filesystem::path& library) {
  preload_builtins(library);
  void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    const char* reason = dlerror();
    return fail(ErrorCode::kEnvironment, reason ? reason : "does not load", library.string(),
                "run scripts/quickstart --cuda, or pip install nvidia-cuda-nvrtc");
  }
  auto functions = std::make_unique<Functions>();
#define FIB_LOAD(name)                                                                       \
  functions->name = reinterpret_cast<decltype(functions->name)>(dlsym(handle, #name));       \
  if (!functions->name) {                                                                    \
    return fail(ErrorCode::kEnvironment, "libnvrtc lacks " #name, library.string(),          \
                "install NVRTC 12.4 or later");                                              \
  }
  FIB_NVRTC_FUNCTIONS(FIB_LOAD)
#undef FIB_LOAD
  std::unique_ptr<Nvrtc> nvrtc(new Nvrtc);
  nvrtc->nvrtc_ = std::move(functions);
  return nvrtc;
}

std::string Nvrtc::version() const {
  int major = 0, minor = 0;
  nvrtc_->nvrtcVersion(&major, &minor);
  return fmt::format("{}.{}", major, minor);
}

Result<NvrtcResult> Nvrtc::compile(const NvrtcRequest& request) const {
  std::vector<const char*> contents, names, options;
  for (const SourceFile& header : request.headers) {
    contents.push_back(header.content.c_str());
    names.push_back(header.path.c_str());
  }
  for (const std::string& option : request.options) options.push_back(option.c_str());

  struct Program {
    const Functions& nvrtc;
    nvrtcProgram handle = nullptr;
    ~Program() { nvrtc.nvrtcDestroyProgram(&handle); }
  } program{*nvrtc_};
  const auto broken = [&](nvrtcResult result) {
    return fail(ErrorCode::kEnvironment, nvrtc_->nvrtcGetErrorString(result), "NVRTC");
  };
  if (const auto result = nvrtc_->nvrtcCreateProgram(
          &program.handle, request.entry.content.c_str(), request.entry.path.c_str(),
          static_cast<int>(names.size()), contents.data(), names.data());
      result != NVRTC_SUCCESS) {
    return broken(result);
  }
  for (const std::string& name : request.name_expressions) {
    if (const auto result = nvrtc_->nvrtcAddNameExpression(program.handle, name.c_str());
        result != NVRTC_SUCCESS) {
      return broken(result);
    }
  }

  const nvrtcResult compiled = nvrtc_->nvrtcCompileProgram(
      program.handle, static_cast<int>(options.size()), options.data());
  NvrtcResult result;
  size_t log_size = 0;
  nvrtc_->nvrtcGetProgramLogSize(program.handle, &log_size);
  if (log_size > 1) {
    result.log.resize(log_size);
    nvrtc_->nvrtcGetProgramLog(program.handle, result.log.data());
    std::erase(result.log, '\0');  // its passes end their parts with one each
    if (result.log.find_first_not_of(" \n") == std::string::npos) result.log.clear();
  }
  result.resources = extract_resources(result.log);
  if (compiled == NVRTC_ERROR_INVALID_OPTION) {
    if (result.log.empty()) result.log = "NVRTC refused an option";
    return result;
  }
  if (compiled != NVRTC_SUCCESS) {
    // A wrong name expression fails the whole program with a message about generated code: find
    // out whether it is that, and which.
    if (!request.name_expressions.empty()) {
      NvrtcRequest probe = request;
      probe.name_expressions.clear();
      if (FIB_TRY(compile(probe)).ok) {
        for (const std::string& name : request.name_expressions) {
          probe.name_expressions = {name};
          if (request.name_expressions.size() > 1 && FIB_TRY(compile(probe)).ok) continue;
          result.log = fmt::format("{}: no kernel '{}' (from \"kernels\" in solution.json)\n{}",
                                   request.entry.path, name, result.log);
          break;
        }
      }
    }
    return result;
  }
  for (const std::string& name : request.name_expressions) {
    const char* lowered = nullptr;
    if (nvrtc_->nvrtcGetLoweredName(program.handle, name.c_str(), &lowered) != NVRTC_SUCCESS) {
      result.log += fmt::format("{}: no kernel '{}' (from \"kernels\" in solution.json)\n",
                                request.entry.path, name);
      return result;
    }
    result.lowered.emplace_back(name, lowered);
  }
  name_kernels(result);
  size_t cubin_size = 0;
  if (const auto status = nvrtc_->nvrtcGetCUBINSize(program.handle, &cubin_size);
      status != NVRTC_SUCCESS) {
    return broken(status);
  }
  result.cubin.resize(cubin_size);
  if (const auto status = nvrtc_->nvrtcGetCUBIN(program.handle, result.cubin.data());
      status != NVRTC_SUCCESS) {
    return broken(status);
  }
  result.ok = true;
  return result;
}

std::vector<KernelResources> extract_resources(std::string& log) {
  std::vector<KernelResources> kernels;
  std::string rest;
  std::vector<std::string> hints;
  std::string_view text = log;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.starts_with("ptxas info") || line.starts_with("ptxas         .")) {
      if (costs_time(line)) {
        std::string hint = without_line_of_ptx(line);
        if (std::ranges::find(hints, hint) != hints.end()) continue;
        rest.append(hint).push_back('\n');
        hints.push_back(std::move(hint));
      } else if (line.find("Compiling entry function") != std::string_view::npos) {
        kernels.push_back({.symbol = quoted(line)});
      } else if (!kernels.empty()) {
        read_properties(line, kernels.back());
      }
    } else if (!line.empty()) {
      rest.append(line).push_back('\n');
    }
  }
  log = std::move(rest);
  return kernels;
}

Json nvrtc_request_to_json(const NvrtcRequest& request) {
  Json json;
  json["entry"] = {{"path", request.entry.path}, {"content", request.entry.content}};
  json["headers"] = sources_to_json(request.headers);
  json["options"] = request.options;
  json["name_expressions"] = request.name_expressions;
  return json;
}

Result<NvrtcRequest> nvrtc_request_from_json(const Json& json) {
  const JsonView view(json, "nvrtc request");
  NvrtcRequest request;
  request.entry = FIB_TRY(source_from_json(FIB_TRY(view.at("entry"))));
  for (const JsonView& header : FIB_TRY(FIB_TRY(view.at("headers")).array())) {
    request.headers.push_back(FIB_TRY(source_from_json(header)));
  }
  request.options = FIB_TRY(FIB_TRY(view.at("options")).strings());
  request.name_expressions = FIB_TRY(FIB_TRY(view.at("name_expressions")).strings());
  return request;
}

Json nvrtc_result_to_json(const NvrtcResult& result) {
  Json json;
  json["ok"] = result.ok;
  json["log"] = result.log;
  json["lowered"] = Json::array();
  for (const auto& [name, symbol] : result.lowered) json["lowered"].push_back({{"name", name}, {"symbol", symbol}});
  json["resources"] = Json::array();
  for (const KernelResources& kernel : result.resources) {
    json["resources"].push_back({{"symbol", kernel.symbol},
                                 {"registers", kernel.registers},
                                 {"spill_bytes", kernel.spill_bytes},
                                 {"stack_bytes", kernel.stack_bytes},
                                 {"static_shared_bytes", kernel.static_shared_bytes}});
  }
  return json;
}

Result<NvrtcResult> nvrtc_result_from_json(const Json& json) {
  const JsonView view(json, "nvrtc result");
  NvrtcResult result;
  result.ok = FIB_TRY(FIB_TRY(view.at("ok")).boolean());
  result.log = FIB_TRY(FIB_TRY(view.at("log")).string());
  for (const JsonView& pair : FIB_TRY(FIB_TRY(view.at("lowered")).array())) {
    result.lowered.emplace_back(FIB_TRY(FIB_TRY(pair.at("name")).string()),
                                FIB_TRY(FIB_TRY(pair.at("symbol")).string()));
  }
  for (const JsonView& kernel : FIB_TRY(FIB_TRY(view.at("resources")).array())) {
    const auto integer = [&](const char* key) -> Result<int> {
      return static_cast<int>(FIB_TRY(FIB_TRY(kernel.at(key)).integer()));
    };
    result.resources.push_back({FIB_TRY(FIB_TRY(kernel.at("symbol")).string()),
                                FIB_TRY(integer("registers")), FIB_TRY(integer("spill_bytes")),
                                FIB_TRY(integer("stack_bytes")),
                                FIB_TRY(integer("static_shared_bytes"))});
  }
  return result;
}

}  // namespace fib
