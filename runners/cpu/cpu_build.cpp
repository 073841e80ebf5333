#include "runners/cpu/cpu_build.h"

#include <fmt/format.h>

#include "harness/abi/fib/cpu.h"
#include "runners/cpu/host_cpu.h"
#include "runners/worker/signature_definitions.h"
#include "signatures/base/file.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

constexpr const char* kSourceFolder = "source";
constexpr const char* kLogName = "compile.log";

Result<std::string> build_key(const BuildRequest& request, const SolutionManifest& manifest,
                              const Toolchain& toolchain) {
  Hasher hasher;
  hasher.add("cpu").add(uint64_t{FIB_CPU_ABI_VERSION});
  hasher.add(FIB_TRY(hash_folder(toolchain.include_folder)));
  hasher.add(toolchain.compiler.string()).add(toolchain.version).add(host_cpu_identity());
  hasher.add(manifest.entry);
  for (const auto* flags : {&toolchain.flags, &manifest.flags}) {
    hasher.add(uint64_t{flags->size()});
    for (const std::string& flag : *flags) hasher.add(flag);
  }
  for (const auto& [name, value] : signature_definitions(request.signature))
    hasher.add(name).add(value);
  hasher.add(uint64_t{request.solution.sources.size()});
  for (const SourceFile& source : request.solution.sources)
    hasher.add(source.path).add(source.content);
  return "cpu-" + hasher.hex();
}

Result<void> write_sources(const Solution& solution, const std::filesystem::path& folder) {
  for (const SourceFile& source : solution.sources) {
    if (!is_safe_relative_path(source.path)) {
      return fail(ErrorCode::kInvalidInput, fmt::format("'{}' leaves the folder", source.path),
                  solution.where);
    }
    std::error_code problem;
    std::filesystem::create_directories((folder / source.path).parent_path(), problem);
    if (problem) return fail(ErrorCode::kIo, problem.message(), folder.string());
    FIB_CHECK(write_file_atomically(folder / source.path, source.content));
  }
  return {};
}

}  // namespace

std::vector<std::string> cpu_object_flags(std::string_view march) {
  return {"-O3", fmt::format("-march={}", march), "-fno-plt"};
}

std::vector<std::string> cpu_compile_flags() {
  std::vector<std::string> flags = cpu_object_flags("native");
  flags.push_back("-Wl,--no-undefined");  // a missing symbol shall be a compile error, no crash
  return flags;
}

Result<BuildOutcome> build_cpu_solution(const BuildRequest& request, const Toolchain& toolchain,
                                        const BuildCache& cache) {
  auto artifact = std::make_shared<Artifact>();
  artifact->solution_key = solution_key(request.solution);
  artifact->manifest = FIB_TRY(manifest_of(request.solution));
  BuildOutcome outcome;
  artifact->build_key = FIB_TRY(build_key(request, artifact->manifest, toolchain));
  if (auto folder = FIB_TRY(cache.find(artifact->build_key))) {
    artifact->folder = *folder;
    artifact->from_cache = true;
    artifact->log = FIB_TRY(read_file(*folder / kLogName));
    outcome.artifact = std::move(artifact);
    return outcome;
  }

  CompileOutcome compiled;
  const auto published =
      cache.publish(artifact->build_key, [&](const std::filesystem::path& folder) -> Result<void> {
        FIB_CHECK(write_sources(request.solution, folder / kSourceFolder));
        compiled =
            FIB_TRY(compile_shared_object({.toolchain = toolchain,
                                           .source_folder = folder / kSourceFolder,
                                           .sources = {artifact->manifest.entry},
                                           .definitions = signature_definitions(request.signature),
                                           .flags = artifact->manifest.flags,
                                           .output = folder / kCpuLibraryName,
                                           .timeout_s = request.timeout_s}));
        if (!compiled.ok) return fail(ErrorCode::kInvalidInput, "it doesn't compile");
        return write_file_atomically(folder / kLogName, compiled.log);
      });
  if (!published && (compiled.ok || compiled.log.empty())) return fail(published.error());
  if (!published) {
    outcome.failure_log = compiled.log;
    outcome.timed_out = compiled.timed_out;
    return outcome;
  }
  artifact->folder = *published;
  artifact->build_ms = compiled.ms;
  artifact->log = compiled.log;
  outcome.artifact = std::move(artifact);
  return outcome;
}

}  // namespace fib
