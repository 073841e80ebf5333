#include "agents/search/code_identity.h"

#include <algorithm>

#include "runners/cpu/cpu_build.h"
#include "runners/cuda/cubin.h"
#include "runners/worker/shared_object.h"
#include "signatures/base/file.h"
#include "signatures/base/hash.h"

namespace fib::agents {
namespace {

std::span<const std::byte> bytes_of(const std::string& content) {
  return std::as_bytes(std::span(content));
}

Result<SharedObjectIdentity> identity_of_object(const std::filesystem::path& file) {
  const std::string object = FIB_TRY(read_file(file));
  return shared_object_identity(bytes_of(object));
}

Result<CodeIdentity> cpu_identity(const Artifact& artifact) {
  const SharedObjectIdentity object =
      FIB_TRY(identity_of_object(artifact.folder / kCpuLibraryName));
  CodeIdentity identity;
  identity.key = Hasher().add("cpu").add(object.hash).hex();
  identity.behaviour.code_bytes = object.code_bytes;
  return identity;
}

Result<int64_t> largest(const JsonView& resources, const char* figure) {
  int64_t largest = 0;
  for (const JsonView& kernel : FIB_TRY(resources.array())) {
    largest = std::max<int64_t>(largest, FIB_TRY(FIB_TRY(kernel.at(figure)).integer()));
  }
  return largest;
}

// Plans name kernels by their expressions, so these count; the plan itself counts as its machine
// code, and so does all that it does differently.
Result<CodeIdentity> cuda_identity(const Artifact& artifact) {
  const std::string cubin = FIB_TRY(read_file(artifact.folder / "kernels.cubin"));
  const std::filesystem::path file = artifact.folder / "build.json";
  const Json json = FIB_TRY(read_json_file(file));
  const JsonView build(json, file.string());
  CodeIdentity identity;
  std::vector<std::pair<std::string, std::string>> kernels;  // expression, hash
  std::vector<std::string> counted;  // several expressions may mean one kernel
  for (const JsonView& kernel : FIB_TRY(FIB_TRY(build.at("lowered")).array())) {
    const std::string symbol = FIB_TRY(FIB_TRY(kernel.at("symbol")).string());
    const KernelIdentity code = FIB_TRY(kernel_identity(bytes_of(cubin), symbol));
    kernels.emplace_back(FIB_TRY(FIB_TRY(kernel.at("name")).string()), code.hash);
    if (std::find(counted.begin(), counted.end(), symbol) != counted.end()) continue;
    counted.push_back(symbol);
    identity.behaviour.code_bytes += code.code_bytes;
  }
  std::sort(kernels.begin(), kernels.end());
  Hasher hash;
  hash.add("cuda");
  for (const auto& [expression, code] : kernels) hash.add(expression).add(code);
  hash.add(FIB_TRY(identity_of_object(artifact.folder / "plan.so")).hash);
  identity.key = hash.hex();
  const JsonView resources = FIB_TRY(build.at("resources"));
  identity.behaviour.registers = FIB_TRY(largest(resources, "registers"));
  identity.behaviour.spilled_bytes = FIB_TRY(largest(resources, "spill_bytes"));
  identity.behaviour.shared_bytes = FIB_TRY(largest(resources, "static_shared_bytes"));
  return identity;
}

}  // namespace

Result<CodeIdentity> code_identity(const Artifact& artifact) {
  if (artifact.manifest.target == "cpu") return cpu_identity(artifact);
  if (artifact.manifest.target == "cuda") return cuda_identity(artifact);
  return fail(ErrorCode::kUnsupported, "there is no machine code to compare",
              artifact.manifest.target, "search on cpu or cuda");
}

}  // namespace fib::agents
