#pragma once

// Capturing what a model's kernels saw, for the commands that serve one.

#include <memory>
#include <string>

#include "integrations/cli/context.h"
#include "integrations/serving/traffic/capture.h"

namespace CLI {
class App;
}

namespace fib {

struct CaptureArgs {
  std::string folder;  // empty: nothing is captured
  std::string floats = "none";
  std::string group = "lengths";
  size_t rows = 64;
  std::string limit = "256M";
};
void add_capture_options(CLI::App& app, CaptureArgs& args);

// Null where no folder was given. `source` says in each row where it comes from.
Result<std::unique_ptr<Capture>> start_capture(Dispatch& dispatch, const CaptureArgs& args,
                                               std::string source);
// Writes and says what there is, on the context's error stream.
Result<void> finish_capture(const Context& context, Capture& capture, const CaptureArgs& args);

}  // namespace fib
