#include "integrations/cli/capture_options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "integrations/cli/units.h"

namespace fib {

void add_capture_options(CLI::App& app, CaptureArgs& args) {
  app.add_option("--capture", args.folder,
                 "Records what each kernel was called with, as workloads; a folder without any")
      ->type_name("DIR");
  app.add_option("--capture-floats", args.floats,
                 "Floating inputs too: of the first call of each shape, or of all rows")
      ->check(CLI::IsMember({"none", "first", "all"}))
      ->capture_default_str();
  app.add_option("--capture-group", args.group,
                 "Which calls are one row: each its own, same shapes, or alike lengths")
      ->check(CLI::IsMember({"call", "shape", "lengths"}))
      ->capture_default_str();
  app.add_option("--capture-rows", args.rows, "Rows of a signature at most")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--capture-limit", args.limit, "Of the inputs kept, in memory and on disk")
      ->type_name("SIZE")
      ->capture_default_str();
}

Result<std::unique_ptr<Capture>> start_capture(Dispatch& dispatch, const CaptureArgs& args,
                                               std::string source) {
  if (args.folder.empty()) return std::unique_ptr<Capture>();
  CaptureOptions options{.folder = args.folder, .max_rows = args.rows, .source = std::move(source)};
  options.max_bytes = FIB_TRY(parse_bytes(args.limit, "--capture-limit"));
  options.floats = args.floats == "all"     ? FloatInputs::kAll
                   : args.floats == "first" ? FloatInputs::kFirstOfShape
                                            : FloatInputs::kNone;
  options.group = args.group == "call"    ? CaptureGroup::kCall
                  : args.group == "shape" ? CaptureGroup::kShape
                                          : CaptureGroup::kLengths;
  return Capture::start(dispatch, std::move(options));
}

Result<void> finish_capture(const Context& context, Capture& capture, const CaptureArgs& args) {
  const CaptureSummary summary = FIB_TRY(capture.write());
  size_t rows = 0;
  uint64_t calls = 0;
  for (const CapturedSignature& signature : summary.signatures) {
    rows += signature.rows;
    calls += signature.calls;
  }
  context.err << fmt::format("captured {} rows of {} signatures from {} calls ({} of inputs): {}\n",
                             rows, summary.signatures.size(), calls,
                             format_bytes(static_cast<double>(summary.bytes_kept)), args.folder);
  return {};
}

}  // namespace fib
