#pragma once

// One compilation by NVRTC. Runs in a worker process (nvrtc_worker.h), because a template bomb
// may never end and a compiler may crash: there both are only a verdict.

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "signatures/base/json.h"
#include "signatures/base/result.h"
#include "signatures/trace.h"

namespace fib {

struct NvrtcRequest {
  SourceFile entry;                       // its path is the file name in messages
  std::vector<SourceFile> headers;        // by the name that #include says
  std::vector<std::string> options;
  std::vector<std::string> name_expressions;
};

struct KernelResources {
  std::string symbol;
  int registers = 0;
  int spill_bytes = 0;                    // stores + loads, a thread, with the functions it calls
  int stack_bytes = 0;                    // of local memory, a thread
  int static_shared_bytes = 0;
};

struct NvrtcResult {
  bool ok = false;
  std::string log;                        // messages; of ptxas's report only what costs time
  std::string cubin;
  std::vector<std::pair<std::string, std::string>> lowered;  // name expression -> symbol
  std::vector<KernelResources> resources;
};

// libnvrtc, opened at run time.
class Nvrtc {
 public:
  static Result<std::unique_ptr<Nvrtc>> open(const std::filesystem::path& library);
  ~Nvrtc();

  std::string version() const;  // "13.0"
  // A program that doesn't compile is a result with ok false. A name expression that doesn't
  // exist is such a failure, and the log names it.
  Result<NvrtcResult> compile(const NvrtcRequest& request) const;

 private:
  Nvrtc();
  struct Functions;
  std::unique_ptr<Functions> nvrtc_;
};

// Takes ptxas's report (-v) out of a log. What it did to the author's instructions that costs time
// stays, once a function: wgmma serialised or waited for too early, setmaxnreg ignored.
std::vector<KernelResources> extract_resources(std::string& log);

Json nvrtc_request_to_json(const NvrtcRequest& request);
Result<NvrtcRequest> nvrtc_request_from_json(const Json& json);
// All but the cubin, which travels in shared memory.
Json nvrtc_result_to_json(const NvrtcResult& result);
Result<NvrtcResult> nvrtc_result_from_json(const Json& json);

}  // namespace fib
