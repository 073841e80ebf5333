#include "integrations/package/export/solution_objects.h"

#include <fmt/format.h>

#include <algorithm>

#include "integrations/package/export/cpu_levels.h"
#include "integrations/package/export/object_file.h"
#include "runners/cpu/host_cpu.h"
#include "runners/cpu/host_identity.h"
#include "runners/worker/signature_definitions.h"
#include "signatures/base/hash.h"
#include "signatures/solution_folder.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kObjectName = "object.o";

constexpr const char* kRun = "fib_run";
constexpr const char* kWorkspaceBytes = "fib_workspace_bytes";
constexpr const char* kPreparedBytes = "fib_prepared_bytes";
constexpr const char* kPrepare = "fib_prepare";
constexpr const char* kPlan = "fib_plan_entry";

}  // namespace

struct SolutionObjects::Request {
  const Solution& solution;
  const Signature& signature;
  std::string source;                // relative to the solution's folder
  std::vector<std::string> flags;    // after these come the manifest's
  std::string processor;             // that "native" stands for; "": any
  std::vector<std::string> entries;  // the first one must be there
};

// An object, and the names of its entry points, in the order asked for; "" where one is missing.
struct SolutionObjects::Isolated {
  fs::path file;
  std::vector<std::string> symbols;
};

Result<SolutionObjects> SolutionObjects::open(const fs::path& abi, const fs::path& cache_folder) {
  Toolchain toolchain = FIB_TRY(find_host_compiler());
  toolchain.include_folder = fs::absolute(abi);
  fs::path objcopy = FIB_TRY(find_tool(toolchain, "objcopy"));
  SolutionObjects objects(std::move(toolchain), std::move(objcopy),
                          FIB_TRY(BuildCache::open(cache_folder)));
  objects.headers_hash_ = FIB_TRY(hash_folder(objects.toolchain_.include_folder));
  return objects;
}

std::string SolutionObjects::key_of(const Request& request) const {
  Hasher hasher;
  hasher.add("package-object-1").add(headers_hash_);
  hasher.add(toolchain_.compiler.string()).add(toolchain_.version).add(request.processor);
  hasher.add(request.source).add(uint64_t{request.flags.size()});
  for (const std::string& flag : request.flags) hasher.add(flag);
  for (const auto& [name, value] : signature_definitions(request.signature)) {
    hasher.add(name).add(value);
  }
  hasher.add(uint64_t{request.solution.sources.size()});
  for (const SourceFile& source : request.solution.sources) {
    hasher.add(source.path).add(source.content);
  }
  return hasher.hex();
}

// Returns the compiler's log if it refuses.
Result<std::string> SolutionObjects::fill(const Request& request, const std::string& prefix,
                                          const fs::path& folder) const {
  const fs::path sources = folder / "source", compiled = folder / "compiled.o";
  FIB_CHECK(write_solution_folder(request.solution, sources));
  const CompileOutcome outcome =
      FIB_TRY(compile_object({.toolchain = toolchain_,
                              .source_folder = sources,
                              .sources = {request.source},
                              .definitions = signature_definitions(request.signature),
                              .flags = request.flags,
                              .output = compiled}));
  if (!outcome.ok) return outcome.log.empty() ? "the compiler gives no reason" : outcome.log;

  const ObjectFile object = FIB_TRY(read_object_file(compiled));
  if (!object.visible.contains(request.entries[0])) {
    return fmt::format("it does not export {}: declare it extern \"C\"", request.entries[0]);
  }
  if (object.runs_when_loaded) {
    // It would run as soon as the package is loaded, on processors that lack its instructions too.
    return std::string(
        "it has static constructors, which a package can't have: make such variables constexpr, "
        "or static inside a function (g++ before 13 makes one for #include <iostream>)");
  }
  std::vector<std::string> arguments;
  for (const std::string& entry : request.entries) {
    arguments.push_back(fmt::format("--redefine-sym={}={}{}", entry, prefix, entry));
    arguments.push_back(fmt::format("--keep-global-symbol={}{}", prefix, entry));
  }
  arguments.insert(arguments.end(), {compiled.string(), (folder / kObjectName).string()});
  const CompileOutcome copied = FIB_TRY(run_tool({.toolchain = toolchain_,
                                                  .program = objcopy_,
                                                  .arguments = std::move(arguments),
                                                  .working_folder = folder,
                                                  .output_folder = folder}));
  if (!copied.ok) return fail(ErrorCode::kEnvironment, copied.log, objcopy_.string());
  for (const std::string& name : FIB_TRY(read_object_file(folder / kObjectName)).visible) {
    if (name.starts_with(prefix)) continue;
    return fail(ErrorCode::kEnvironment, fmt::format("leaves '{}' visible", name),
                objcopy_.string(), "install GNU binutils and g++");
  }
  std::error_code failed;
  fs::remove(compiled, failed);
  if (!failed) fs::remove_all(sources, failed);
  if (failed) return fail(ErrorCode::kIo, failed.message(), folder.string());
  return std::string();
}

Result<Compiled<SolutionObjects::Isolated>> SolutionObjects::isolate(const Request& request) const {
  const std::string key = key_of(request);
  const std::string prefix = fmt::format("fibk_{}_", key.substr(0, 16));
  Compiled<Isolated> result;
  auto folder = FIB_TRY(cache_.find("object-" + key));
  if (!folder) {
    auto published = cache_.publish("object-" + key, [&](const fs::path& into) -> Result<void> {
      result.failure_log = FIB_TRY(fill(request, prefix, into));
      if (result.failure_log.empty()) return {};
      return fail(ErrorCode::kInvalidInput, "it doesn't compile");  // nothing to keep
    });
    if (!result.failure_log.empty()) return result;
    folder = FIB_TRY(std::move(published));
  }
  Isolated& made = result.made.emplace(Isolated{.file = *folder / kObjectName});
  const ObjectFile object = FIB_TRY(read_object_file(made.file));
  for (const std::string& entry : request.entries) {
    made.symbols.push_back(object.visible.contains(prefix + entry) ? prefix + entry : "");
  }
  return result;
}

Result<Compiled<CpuObject>> SolutionObjects::cpu(const Solution& solution,
                                                 const Signature& signature,
                                                 const std::string& level) const {
  const SolutionManifest manifest = FIB_TRY(manifest_of(solution));
  const bool is_native = level == "native";
  Request request{.solution = solution,
                  .signature = signature,
                  .source = manifest.entry,
                  .flags = FIB_TRY(cpu_level_flags(level)),
                  .processor = is_native ? host_cpu_identity() : "",
                  .entries = {kRun, kWorkspaceBytes, kPreparedBytes, kPrepare}};
  request.flags.insert(request.flags.end(), manifest.flags.begin(), manifest.flags.end());
  Compiled<Isolated> isolated = FIB_TRY(isolate(request));
  if (!isolated.made) return Compiled<CpuObject>{.failure_log = std::move(isolated.failure_log)};
  const auto& symbols = isolated.made->symbols;
  return Compiled<CpuObject>{.made = CpuObject{.level = level,
                                               .file = isolated.made->file,
                                               .run = symbols[0],
                                               .workspace_bytes = symbols[1],
                                               .prepared_bytes = symbols[2],
                                               .prepare = symbols[3],
                                               .flags = is_native ? host_processor().flags : ""}};
}

Result<Compiled<PlanObject>> SolutionObjects::plan(const Solution& solution,
                                                   const Signature& signature) const {
  const SolutionManifest manifest = FIB_TRY(manifest_of(solution));
  Request request{.solution = solution,
                  .signature = signature,
                  .source = manifest.plan,
                  .flags = {"-O2"},
                  .entries = {kPlan}};
  // Others are NVRTC's.
  std::copy_if(manifest.flags.begin(), manifest.flags.end(), std::back_inserter(request.flags),
               [](const std::string& flag) { return flag.starts_with("-D"); });
  Compiled<Isolated> isolated = FIB_TRY(isolate(request));
  if (!isolated.made) return Compiled<PlanObject>{.failure_log = std::move(isolated.failure_log)};
  return Compiled<PlanObject>{
      .made = PlanObject{.file = isolated.made->file, .symbol = isolated.made->symbols[0]}};
}

}  // namespace fib
