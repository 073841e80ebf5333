#include "runners/worker/toolchain.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <optional>

#include "runners/worker/child_process.h"
#include "runners/worker/landlock.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxLogBytes = 64 << 10;
constexpr size_t kMaxObjectBytes = size_t{1} << 30;
constexpr const char* kInstall = "install g++ or clang++, or name a compiler";

std::optional<fs::path> search(const fs::path& name, std::string_view search_path) {
  while (!search_path.empty()) {
    const size_t end = std::min(search_path.find(':'), search_path.size());
    const fs::path candidate = fs::path(search_path.substr(0, end)) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    search_path.remove_prefix(std::min(end + 1, search_path.size()));
  }
  return std::nullopt;
}

Result<fs::path> locate(const fs::path& compiler, std::string_view search_path) {
  if (compiler.has_parent_path()) return fs::absolute(compiler);
  if (!compiler.empty()) {
    if (auto found = search(compiler, search_path)) return *found;
    return fail(ErrorCode::kEnvironment, fmt::format("no such program in {}", search_path),
                compiler.string(), kInstall);
  }
  for (const char* name : {"g++", "clang++", "c++"}) {
    if (auto found = search(name, search_path)) return *found;
  }
  return fail(ErrorCode::kEnvironment, fmt::format("no C++ compiler in {}", search_path), {},
              kInstall);
}

std::vector<std::pair<std::string, std::string>> environment_for(const fs::path& compiler,
                                                                 const fs::path& temporary) {
  return {{"PATH", fmt::format("{}:{}", compiler.parent_path().string(), kSystemSearchPath)},
          {"LC_ALL", "C"},
          {"TMPDIR", temporary.string()}};
}

// What the compiler itself was installed with, if outside the system's folders.
fs::path prefix_of(const fs::path& compiler) {
  std::error_code ignored;
  return fs::weakly_canonical(compiler, ignored).parent_path().parent_path();
}

// A source could include, or have assembled, any file that the harness can read: expected values,
// other people's solutions. Without Landlock that door stays open.
Result<FileDescriptor> confine(const ToolRequest& request) {
  if (landlock_abi() == 0) return FileDescriptor();
  AllowedPaths allowed{.readable = system_folders(),
                       .writable = {request.output_folder, "/dev/null"}};
  for (const fs::path& program : {request.toolchain.compiler, request.program}) {
    const fs::path prefix = prefix_of(program);
    if (prefix != prefix.root_path()) allowed.readable.push_back(prefix);
  }
  allowed.readable.push_back(request.working_folder);
  allowed.readable.insert(allowed.readable.end(), request.readable.begin(), request.readable.end());
  return landlock_ruleset(allowed);
}

std::vector<std::string> arguments_of(const CompileRequest& request,
                                      const std::vector<std::string>& kind) {
  std::vector<std::string> arguments = {"-std=c++20", "-fPIC"};
  arguments.insert(arguments.end(), kind.begin(), kind.end());
  // __FILE__ and debug information are the same everywhere
  arguments.push_back(fmt::format("-ffile-prefix-map={}/=", request.source_folder.string()));
  if (!request.toolchain.include_folder.empty()) {
    arguments.push_back("-I" + request.toolchain.include_folder.string());
  }
  for (const auto* flags : {&request.toolchain.flags, &request.flags}) {
    arguments.insert(arguments.end(), flags->begin(), flags->end());
  }
  for (const auto& [name, value] : request.definitions) {
    arguments.push_back(fmt::format("-D{}={}", name, value));
  }
  // "./" keeps a file named "-o" from being taken for a flag.
  for (const std::string& source : request.sources) arguments.push_back("./" + source);
  arguments.insert(arguments.end(), {"-o", request.output.string()});
  return arguments;
}

void replace_all(std::string* text, std::string_view what, std::string_view by) {
  for (size_t at = 0; (at = text->find(what, at)) != std::string::npos; at += by.size()) {
    text->replace(at, what.size(), by);
  }
}

// "/tmp/cache/.new-1/kernel.cpp:12:5" means nothing to the author.
std::string shorten(std::string log, const CompileRequest& request) {
  for (const fs::path& folder :
       {request.source_folder, request.output.parent_path(), request.toolchain.include_folder}) {
    if (!folder.empty()) replace_all(&log, folder.string() + "/", "");
  }
  for (const std::string& source : request.sources) replace_all(&log, "./" + source, source);
  return log;
}

Result<CompileOutcome> compile(const CompileRequest& request,
                               const std::vector<std::string>& kind) {
  ToolRequest tool{.toolchain = request.toolchain,
                   .program = request.toolchain.compiler,
                   .arguments = arguments_of(request, kind),
                   .working_folder = request.source_folder,
                   .output_folder = request.output.parent_path(),
                   .timeout_s = request.timeout_s,
                   .memory_bytes = request.memory_bytes};
  if (!request.toolchain.include_folder.empty()) {
    tool.readable.push_back(request.toolchain.include_folder);
  }
  CompileOutcome outcome = FIB_TRY(run_tool(tool));
  outcome.log = shorten(std::move(outcome.log), request);
  return outcome;
}

}  // namespace

Result<Toolchain> find_host_compiler(const fs::path& compiler, std::string_view search_path) {
  Toolchain toolchain{.compiler = FIB_TRY(locate(compiler, search_path))};
  const auto child = FIB_TRY(ChildProcess::start(
      {.executable = toolchain.compiler,
       .arguments = {"--version"},
       .environment = environment_for(toolchain.compiler, fs::temp_directory_path())}));
  if (!child->wait_until(deadline_in(20.0))) child->kill();
  const WorkerExit exit = child->wait();
  toolchain.version = child->output().substr(0, child->output().find('\n'));
  if (exit.signal == 0 && exit.code == 0 && !toolchain.version.empty()) return toolchain;
  return fail(ErrorCode::kEnvironment, fmt::format("doesn't tell its version: {}", exit.describe()),
              toolchain.compiler.string(), kInstall);
}

Result<CompileOutcome> run_tool(const ToolRequest& request) {
  const FileDescriptor ruleset = FIB_TRY(confine(request));
  const auto begin = std::chrono::steady_clock::now();
  const auto child = FIB_TRY(ChildProcess::start(
      {.executable = request.program,
       .arguments = request.arguments,
       .environment = environment_for(request.toolchain.compiler, request.output_folder),
       .working_folder = request.working_folder,
       .landlock_ruleset = ruleset.get(),
       .limits = {.address_space_bytes = request.memory_bytes,
                  .file_bytes = kMaxObjectBytes,
                  .cpu_seconds = static_cast<int>(std::ceil(request.timeout_s)) + 1},
       .max_output_bytes = kMaxLogBytes}));
  CompileOutcome outcome;
  outcome.timed_out = !child->wait_until(deadline_in(request.timeout_s));
  if (outcome.timed_out) child->kill();
  const WorkerExit exit = child->wait();
  outcome.ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  outcome.ok = !outcome.timed_out && exit.signal == 0 && exit.code == 0;
  outcome.log = child->output();
  const bool is_compiler = request.program == request.toolchain.compiler;
  const std::string name = is_compiler ? "the compiler" : request.program.filename().string();
  if (outcome.timed_out) {
    outcome.log +=
        fmt::format("\n{} took longer than {} s and was stopped\n", name, request.timeout_s);
  } else if (!outcome.ok && (exit.signal != 0 || outcome.log.empty())) {
    outcome.log += fmt::format("\n{} {}\n", name, exit.describe());
  }
  return outcome;
}

Result<CompileOutcome> compile_shared_object(const CompileRequest& request) {
  return compile(request, {"-shared"});
}

Result<CompileOutcome> compile_object(const CompileRequest& request) {
  std::vector<std::string> kind = {"-r", "-nostdlib", "-Wl,--force-group-allocation"};
  // Static variables of inline functions are otherwise one for the whole process, whatever objects
  // they come from. clang++ has them that way only where it is asked to.
  if (request.toolchain.version.find("clang") == std::string::npos) {
    kind.push_back("-fno-gnu-unique");
  }
  return compile(request, kind);
}

Result<fs::path> find_tool(const Toolchain& toolchain, std::string_view name) {
  const std::string path =
      fmt::format("{}:{}", toolchain.compiler.parent_path().string(), kSystemSearchPath);
  if (auto found = search(name, path)) return *found;
  return fail(ErrorCode::kEnvironment, fmt::format("no such program in {}", path),
              std::string(name), "install binutils");
}

}  // namespace fib
