#include "agents/skeleton.h"

#include <fmt/format.h>

#include "agents/contract.h"
#include "runners/cpu/skeleton.h"
#include "runners/cuda/skeleton.h"
#include "signatures/document.h"

namespace fib {

namespace {

constexpr std::string_view kGuide = R"(# {name}: how to work on it

A kernel for the signature `{signature}` ({op_type}), target `{target}`. {description}

## Commands

```sh
fib submit .                  # compile, check, time, store; what failed is said with its place
fib submit . --quick          # the same, coarser: for trying out
fib profile . --quick         # where its errors, time and resources go: what to improve next
fib compare . best            # side by side with the leader; `house` or a name will do too
fib agent run --signature {signature} --seeds .   # search from here on, by itself
fib board {signature}
fib show N                    # verdict N in full
```

With `fib mcp` as a tool server the tools are `check`, `submit`, `profile`, `compare`, `board` and
`explain_verdict`.

## Rules

- `solution.json` lists every source; what it doesn't list isn't built.
{rules}
- Inputs are read only, outputs are written in full. Memory around them is guarded.
- A call's result depends on its inputs alone: nothing is kept from call to call, no value of a
  workload is assumed, and the mathematics is done in every call.
- Faster by less precision is fine within the tolerance below; less work than the signature asks for
  is not. Attempts to see the judge, its clock or expected values end the worker and the verdict.

## Contract

{contract})";

constexpr std::string_view kCpuRules =
    "- `solution.cpp` is C++20 against `<fib/cpu.h>`: `fib_run` allocates nothing, starts no "
    "thread\n"
    "  or process, opens no file or socket; threads come from `parallel_for`.";
constexpr std::string_view kCudaRules =
    "- `kernel.cu` is device code for NVRTC, kernels only. `plan.cpp` is a pure function from the\n"
    "  problem to a launch plan (`<fib/plan.h>`): no device, no files, no clock.\n"
    "- No work may outlast the last launch of a call.";

std::string agents_guide(const Signature& signature, const SkeletonRequest& request) {
  return fmt::format(fmt::runtime(kGuide), fmt::arg("name", request.name),
                     fmt::arg("signature", signature.name), fmt::arg("op_type", signature.op_type),
                     fmt::arg("target", request.target),
                     fmt::arg("description", signature.description.value_or("")),
                     fmt::arg("rules", request.target == "cpu" ? kCpuRules : kCudaRules),
                     fmt::arg("contract", contract_in_words(signature)));
}

}  // namespace

Result<std::vector<SourceFile>> make_skeleton(const Signature& signature,
                                              const SkeletonRequest& request) {
  if (!is_plain_name(request.name)) {
    return fail(ErrorCode::kInvalidInput,
                fmt::format("name '{}' can't be a file name", request.name), "name",
                "letters, digits and ._+- only, not starting with a dot");
  }
  std::vector<SourceFile> files =
      request.target == "cpu" ? cpu_skeleton(signature) : cuda_skeleton(signature);
  for (SourceFile& file : files) {
    if (file.path != "solution.json") continue;
    Json manifest = FIB_TRY(parse_json(file.content, file.path));
    manifest["name"] = request.name;
    manifest["author"] = request.author;
    file.content = dump_json_pretty(manifest) + "\n";
  }
  files.push_back({"AGENTS.md", agents_guide(signature, request)});
  return files;
}

}  // namespace fib
