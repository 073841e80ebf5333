#include "integrations/package/export/link.h"

#include <fmt/format.h>

#include "integrations/package/include/fib_kernels.h"
#include "signatures/base/file.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr double kLinkSeconds = 300.0;

// The version that linked programs ask the loader for: that of the C interface's major one. What a
// minor version adds goes into a node of its own, FIB_KERNELS_1.1.
constexpr const char* kExports = R"(FIB_KERNELS_1 {
  global: fib_kernels_*; __tvm_ffi_*;
  local: *;
};
)";
static_assert(FIB_KERNELS_ABI_MAJOR == 1);

std::vector<std::string> arguments_of(const LinkRequest& request) {
  std::vector<std::string> arguments = {
      "-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-shared",
      // An answer to "what is wrong with my package" must not depend on who built it where.
      fmt::format("-ffile-prefix-map={}/=", request.table_header.string()),
      "-I" + request.table_header.string(), "table.cpp", "embedded.s"};
  for (const fs::path& object : request.objects) arguments.push_back(object.string());
  arguments.insert(arguments.end(),
                   {"-Wl,--whole-archive", request.runtime_archive.string(),
                    "-Wl,--no-whole-archive", "-Wl,--gc-sections", "-static-libstdc++",
                    "-static-libgcc", "-Wl,--version-script=exports.map",
                    "-Wl,-Bsymbolic", "-Wl,--no-undefined", "-Wl,-z,relro,-z,now,-z,noexecstack",
                    "-Wl,--build-id=sha1", "-Wl,--strip-debug", "-Wl,-soname,libfib_kernels.so",
                    "-Wl,--as-needed", "-ldl", "-pthread", "-o", "libfib_kernels.so"});
  return arguments;
}

}  // namespace

Result<fs::path> link_package(const LinkRequest& request) {
  std::error_code failed;
  if (!fs::is_regular_file(request.runtime_archive, failed)) {
    return fail(ErrorCode::kEnvironment, "the run-time library of packages is missing",
                request.runtime_archive.string(), "build or install fib anew");
  }
  const auto write = [&](const std::string& name, std::string_view content) {
    return write_file_atomically(request.folder / name, content);
  };
  FIB_CHECK(write("table.cpp", request.source.table));
  FIB_CHECK(write("embedded.s", request.source.embedding));
  FIB_CHECK(write("exports.map", kExports));
  for (const EmbeddedFile& file : request.source.embedded) {
    FIB_CHECK(write(file.symbol + ".bin", file.content));
  }
  ToolRequest link{.toolchain = request.toolchain,
                   .program = request.toolchain.compiler,
                   .arguments = arguments_of(request),
                   .working_folder = request.folder,
                   .readable = {request.table_header, request.runtime_archive},
                   .output_folder = request.folder,
                   .timeout_s = kLinkSeconds};
  link.readable.insert(link.readable.end(), request.objects.begin(), request.objects.end());
  const CompileOutcome linked = FIB_TRY(run_tool(link));
  if (linked.ok) return request.folder / "libfib_kernels.so";
  return fail(ErrorCode::kEnvironment, "the shared object can't be linked:\n" + linked.log,
              request.toolchain.compiler.string(), "install g++ and GNU binutils");
}

}  // namespace fib
