#include "runners/cuda/cuda_build.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <future>

#include "runners/worker/signature_definitions.h"
#include "signatures/base/file.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxLogBytes = 16 << 10;
constexpr double kHarnessTimeout = 120.0;
constexpr double kMaxTimeout = 600.0;

std::string shorten(std::string log) {
  if (log.size() <= kMaxLogBytes) return log;
  log.resize(kMaxLogBytes);
  return log + "\n[shortened]\n";
}

// What the author should know of a build that went well.
std::string notes_of(const NvrtcResult& device, const CompileOutcome& plan) {
  std::string notes = device.log;
  for (const KernelResources& kernel : device.resources) {
    if (kernel.spill_bytes == 0 && kernel.stack_bytes == 0) continue;
    std::string name = kernel.symbol;
    for (const auto& [expression, symbol] : device.lowered) {
      if (symbol == kernel.symbol) name = expression;
    }
    notes += kernel.spill_bytes > 0
                 ? fmt::format("{}: {} registers, {} bytes spilled a thread\n", name,
                               kernel.registers, kernel.spill_bytes)
                 : fmt::format("{}: {} bytes of local memory a thread: an array that isn't kept in "
                               "registers, because it is indexed at run time or passed by address\n",
                               name, kernel.stack_bytes);
  }
  return shorten(notes + plan.log);
}

Result<void> write_sources(const Solution& solution, const fs::path& folder) {
  for (const SourceFile& source : solution.sources) {
    const fs::path file = folder / source.path;
    std::error_code failed;
    fs::create_directories(file.parent_path(), failed);
    if (failed) return fail(ErrorCode::kIo, failed.message(), file.parent_path().string());
    FIB_CHECK(write_file_atomically(file, source.content));
  }
  return {};
}

Result<NvrtcRequest> device_request(const BuildRequest& request, const SolutionManifest& manifest,
                                    std::vector<std::string> options) {
  NvrtcRequest device;
  for (const SourceFile& source : request.solution.sources) {
    if (source.path == manifest.entry) {
      device.entry = source;
    } else if (source.path != manifest.plan) {
      device.headers.push_back(source);
    }
  }
  device.options = std::move(options);
  for (const auto& [name, value] : signature_definitions(request.signature)) {
    device.options.push_back(fmt::format("-D{}={}", name, value));
  }
  bool names_standard = false;
  for (const std::string& flag : manifest.flags) {
    names_standard = names_standard || flag.starts_with("-std=");
    device.options.push_back(flag);
  }
  if (!names_standard) device.options.push_back("-std=c++17");
  for (const std::string& kernel : manifest.kernels) {
    device.name_expressions.push_back(FIB_TRY(expand_axes(kernel, request.signature)));
  }
  return device;
}

}  // namespace

Result<std::string> expand_axes(std::string_view text, const Signature& signature) {
  std::string expanded;
  while (true) {
    const size_t open = text.find('{');
    expanded += text.substr(0, open);
    if (open == std::string_view::npos) return expanded;
    const size_t close = text.find('}', open);
    if (close == std::string_view::npos) {
      return fail(ErrorCode::kInvalidInput, fmt::format("'{}' lacks its '}}'", text.substr(open)),
                  "solution.json: /kernels");
    }
    const std::string_view name = text.substr(open + 1, close - open - 1);
    const Axis* axis = signature.find_axis(name);
    if (!axis || axis->kind != Axis::Kind::kConst) {
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("{} has no const axis '{}'", signature.name, name),
                  "solution.json: /kernels");
    }
    expanded += std::to_string(axis->value);
    text.remove_prefix(close + 1);
  }
}

Result<std::unique_ptr<CudaBuilder>> CudaBuilder::open(CudaBuilderOptions options) {
  const fs::path library = FIB_TRY(find_cuda_library(options.search, CudaLibrary::kNvrtc));
  Toolchain toolchain = FIB_TRY(find_host_compiler());
  toolchain.include_folder = options.runner.include_folder;
  BuildCache cache = FIB_TRY(BuildCache::open(options.runner.cache_folder));
  NvrtcFarmOptions farm{options.runner.worker_executable, library, options.max_compiles};
  const std::string headers = FIB_TRY(hash_folder(options.runner.include_folder));
  std::unique_ptr<CudaBuilder> builder(new CudaBuilder(std::move(options), std::move(toolchain),
                                                       std::move(cache), std::move(farm)));
  builder->headers_hash_ = headers;
  builder->nvrtc_version_ = FIB_TRY(builder->farm_.version());
  return builder;
}

CudaBuilder::CudaBuilder(CudaBuilderOptions options, Toolchain toolchain, BuildCache cache,
                         NvrtcFarmOptions farm)
    : options_(std::move(options)),
      toolchain_(std::move(toolchain)),
      cache_(std::move(cache)),
      farm_(std::move(farm)),
      cuda_headers_(find_cuda_headers(options_.search)) {}

std::vector<std::string> CudaBuilder::common_options(const std::string& architecture) const {
  std::vector<std::string> options = {"-arch=" + architecture, "-default-device"};
  if (options_.line_info == LineInfo::kKept) options.push_back("-lineinfo");
  options.push_back("--ptxas-options=-v");
  options.push_back("-I" + options_.runner.include_folder.string());
  if (cuda_headers_) options.push_back("-I" + cuda_headers_->string());
  return options;
}

std::string CudaBuilder::key_of(const BuildRequest& request, const NvrtcRequest& device) const {
  Hasher hasher;
  hasher.add("cuda-build-2").add(solution_key(request.solution)).add(request.architecture);
  for (const std::string& option : device.options) hasher.add(option);
  for (const std::string& name : device.name_expressions) hasher.add(name);
  hasher.add(nvrtc_version_).add(toolchain_.version).add(headers_hash_);
  for (const std::string& flag : toolchain_.flags) hasher.add(flag);
  return hasher.hex();
}

Result<BuildOutcome> CudaBuilder::build(const BuildRequest& request) {
  const auto start = std::chrono::steady_clock::now();
  const SolutionManifest manifest = FIB_TRY(manifest_of(request.solution));
  BuildOutcome outcome;
  const auto device = device_request(request, manifest, common_options(request.architecture));
  if (!device) {
    outcome.failure_log = device.error().to_string();
    return outcome;
  }
  const std::string key = key_of(request, *device);
  const auto artifact_in = [&](const fs::path& folder) {
    auto artifact = std::make_shared<Artifact>();
    artifact->solution_key = solution_key(request.solution);
    artifact->build_key = key;
    artifact->folder = folder;
    artifact->manifest = manifest;
    artifact->build_ms = std::chrono::duration<double, std::milli>(
                             std::chrono::steady_clock::now() - start).count();
    return artifact;
  };
  const auto log_in = [](const fs::path& folder) -> Result<std::string> {
    const Json json = FIB_TRY(read_json_file(folder / "build.json"));
    return FIB_TRY(JsonView(json, (folder / "build.json").string()).at("log")).string();
  };
  if (const auto found = FIB_TRY(cache_.find(key))) {
    auto artifact = artifact_in(*found);
    artifact->from_cache = true;
    artifact->log = FIB_TRY(log_in(*found));
    outcome.artifact = std::move(artifact);
    return outcome;
  }

  bool is_rejected = false;  // by a compiler; then there is nothing to keep
  const auto fill = [&](const fs::path& folder) -> Result<void> {
    const double timeout_s = std::min(request.timeout_s, kMaxTimeout);
    FIB_CHECK(write_sources(request.solution, folder / "source"));
    auto kernels = std::async(std::launch::async,
                              [&] { return farm_.compile(*device, timeout_s); });
    CompileRequest host{.toolchain = toolchain_,
                        .source_folder = folder / "source",
                        .sources = {manifest.plan},
                        .definitions = signature_definitions(request.signature),
                        .output = folder / "plan.so",
                        .timeout_s = timeout_s};
    for (const std::string& flag : manifest.flags) {
      if (flag.starts_with("-D")) host.flags.push_back(flag);
    }
    auto plan = compile_shared_object(host);
    auto compiled = kernels.get();
    if (!plan) return fail(std::move(plan).error());
    if (!compiled) {
      const ErrorCode code = compiled.error().code;
      if (code != ErrorCode::kTimeout && code != ErrorCode::kWorkerLost) {
        return fail(std::move(compiled).error());
      }
      outcome.timed_out = code == ErrorCode::kTimeout;
      outcome.failure_log =
          outcome.timed_out
              ? fmt::format("{}: not compiled after {:.3g} s", manifest.entry, timeout_s)
              : fmt::format("{}: the compiler crashed: {}", manifest.entry,
                            compiled.error().message);
      is_rejected = true;
    } else if (!compiled->ok || !plan->ok) {
      outcome.timed_out = plan->timed_out;
      outcome.failure_log = shorten((compiled->ok ? "" : compiled->log) + (plan->ok ? "" : plan->log));
      is_rejected = true;
    }
    if (is_rejected) return fail(ErrorCode::kInvalidInput, "it doesn't compile");
    FIB_CHECK(write_file_atomically(folder / "kernels.cubin", compiled->cubin));
    Json json = nvrtc_result_to_json(*compiled);
    json["log"] = notes_of(*compiled, *plan);
    return write_file_atomically(folder / "build.json", dump_json_pretty(json));
  };
  auto folder = cache_.publish(key, fill);
  if (is_rejected) return outcome;
  if (!folder) return fail(std::move(folder).error());
  auto artifact = artifact_in(*folder);
  artifact->log = FIB_TRY(log_in(*folder));
  outcome.artifact = std::move(artifact);
  return outcome;
}

Result<std::string> CudaBuilder::harness_kernels(const std::string& architecture) {
  const fs::path sources = options_.device_source_folder;
  NvrtcRequest request{.entry = {"harness.cu", FIB_TRY(read_file(sources / "harness.cu"))},
                       .headers = {{"harness_abi.h", FIB_TRY(read_file(sources / "harness_abi.h"))}},
                       .options = common_options(architecture)};
  request.options.push_back("-std=c++17");
  Hasher hasher;
  hasher.add("cuda-harness-1").add(request.entry.content).add(request.headers[0].content);
  hasher.add(architecture).add(nvrtc_version_).add(headers_hash_);
  const std::string key = hasher.hex();
  auto folder = FIB_TRY(cache_.find(key));
  if (!folder) {
    folder = FIB_TRY(cache_.publish(key, [&](const fs::path& into) -> Result<void> {
      const NvrtcResult result = FIB_TRY(farm_.compile(request, kHarnessTimeout));
      if (!result.ok) return fail(ErrorCode::kEnvironment, result.log, "harness.cu");
      return write_file_atomically(into / "kernels.cubin", result.cubin);
    }));
  }
  return read_file(*folder / "kernels.cubin");
}

Result<CudaBinary> read_cuda_binary(const Artifact& artifact) {
  CudaBinary binary;
  binary.cubin = FIB_TRY(read_file(artifact.folder / "kernels.cubin"));
  binary.plan = artifact.folder / "plan.so";
  const fs::path file = artifact.folder / "build.json";
  binary.lowered = FIB_TRY(nvrtc_result_from_json(FIB_TRY(read_json_file(file)))).lowered;
  return binary;
}

}  // namespace fib
