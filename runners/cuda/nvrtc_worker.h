#pragma once

// NVRTC in processes of their own. A farm keeps warm ones (the first compile of a process takes
// several times as long as the next) and replaces those that hang or die.

#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "runners/cuda/nvrtc_compile.h"
#include "runners/worker/process.h"

namespace fib {

// Worker kind "nvrtc"; --library PATH names libnvrtc.
int run_nvrtc_worker(Channel channel, std::span<char*> arguments);

struct NvrtcFarmOptions {
  std::filesystem::path worker_executable;
  std::filesystem::path library;  // libnvrtc
  int max_workers = 1;
};

class NvrtcFarm {
 public:
  explicit NvrtcFarm(NvrtcFarmOptions options);
  ~NvrtcFarm();

  // Thread-safe; waits for a free worker. Errors: kTimeout (the compile was killed), kWorkerLost
  // (the compiler crashed), kEnvironment.
  Result<NvrtcResult> compile(const NvrtcRequest& request, double timeout_s);
  Result<std::string> version();  // "13.0"

 private:
  struct Worker;
  Result<std::unique_ptr<Worker>> start_worker() const;
  Result<std::unique_ptr<Worker>> take_worker();
  void give_back(std::unique_ptr<Worker> worker);  // null: it was lost

  NvrtcFarmOptions options_;
  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<Worker>> idle_;
  int started_ = 0;
};

}  // namespace fib
