#include "integrations/package/export/guide.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "integrations/package/include/fib_kernels.h"
#include "signatures/base/file.h"

namespace fib {
namespace {

namespace fs = std::filesystem;

constexpr const char* kProgram = "share/fib_kernels/consumer.c";

// Every command is run by a test, in the package's folder.
constexpr const char* kReadme = R"(# {name} {version}

Kernels for {targets}, in one shared object that needs the C library and, for cards, the NVIDIA
driver. `include/fib_kernels.h` documents the interface, `share/fib_kernels/manifest.json` says which
solution serves what and by which measurements, `share/fib_kernels/LICENSES` under which licence.

Nothing was changed or lost on the way here if this says OK for every file:

    sha256sum --quiet -c SHA256SUMS

In C (`{program}` is a whole program; it wants an rmsnorm in the package):

    export PKG_CONFIG_PATH=$PWD/lib/pkgconfig
    gcc -std=c99 {program} $(pkg-config --cflags --libs fib_kernels) -lm \
      -Wl,-rpath,$(pkg-config --variable=libdir fib_kernels) -o consumer
    ./consumer

In CMake, with `-DCMAKE_PREFIX_PATH` of this folder:

```cmake
find_package(fib_kernels {major} CONFIG REQUIRED)
target_link_libraries(program PRIVATE fib_kernels::fib_kernels)
```

In Python, with tvm-ffi or with any wheel of fib_kernels:

```python
module = tvm_ffi.load_module("lib/libfib_kernels.so")   # module.<signature>(inputs..., outputs...)
package = fib_kernels.Package(".")                      # package.apply("<signature>", inputs...)
```

Signatures:

{signatures}
)";

std::string readme(const PackageSpec& spec) {
  std::vector<std::string> targets = spec.cuda_architectures;
  targets.insert(targets.end(), spec.cpu_levels.begin(), spec.cpu_levels.end());
  std::vector<std::string> signatures;
  for (const PackagedSignature& packaged : spec.signatures) {
    signatures.push_back(fmt::format("- `{}`", packaged.signature->name));
  }
  return fmt::format(fmt::runtime(kReadme), fmt::arg("name", spec.name),
                     fmt::arg("version", spec.version),
                     fmt::arg("targets", fmt::join(targets, ", ")), fmt::arg("program", kProgram),
                     fmt::arg("major", FIB_KERNELS_ABI_MAJOR),
                     fmt::arg("signatures", fmt::join(signatures, "\n")));
}

}  // namespace

Result<void> write_guide(const PackageSpec& spec, const fs::path& consumer,
                         const fs::path& package) {
  std::error_code failed;
  fs::create_directories((package / kProgram).parent_path(), failed);
  if (failed) return fail(ErrorCode::kIo, failed.message(), package.string());
  FIB_CHECK(write_file_atomically(package / "README.md", readme(spec)));
  const std::string program = FIB_TRY(read_file(consumer));
  return write_file_atomically(package / kProgram, program);
}

}  // namespace fib
