#include "integrations/cli/context.h"

#include <fmt/format.h>

#include <ostream>

namespace fib {

Result<Home> find_home(const std::filesystem::path& executable,
                       const std::filesystem::path& chosen) {
  const auto is_home = [](const std::filesystem::path& root) {
    std::error_code ignored;
    return std::filesystem::is_directory(Home{root}.definitions(), ignored);
  };
  if (!chosen.empty()) {
    if (is_home(chosen)) return Home{chosen};
    return fail(ErrorCode::kNotFound, "no signatures/definitions in there", chosen.string(),
                "--home names a checkout of fib or an install's share/fib");
  }
  const std::filesystem::path folder = executable.parent_path();
  const std::filesystem::path candidates[] = {folder / "../..", folder / "../share/fib"};
  for (const std::filesystem::path& candidate : candidates) {
    if (is_home(candidate)) return Home{std::filesystem::weakly_canonical(candidate)};
  }
  return fail(ErrorCode::kEnvironment,
              fmt::format("the data that comes with fib isn't beside the binary (looked in {} and "
                          "{})",
                          candidates[0].lexically_normal().string(),
                          candidates[1].lexically_normal().string()),
              executable.string(),
              "name a checkout of fib, or an install's share/fib, with --home");
}

Result<Catalog> open_catalog(const Context& context, const std::filesystem::path& workloads) {
  Catalog catalog = FIB_TRY(Catalog::builtin(context.home.definitions()));
  for (const std::filesystem::path& dataset : context.datasets) {
    FIB_CHECK(catalog.add_dataset(dataset));
  }
  std::error_code none;
  if (!workloads.empty() && std::filesystem::is_directory(workloads / "definitions", none)) {
    FIB_CHECK(catalog.add_dataset(workloads));
  }
  return catalog;
}

int exit_code_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidInput:
    case ErrorCode::kNotFound: return kExitUsage;
    case ErrorCode::kIo:
    case ErrorCode::kUnsupported:
    case ErrorCode::kEnvironment:
    case ErrorCode::kConflict:
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kTimeout:
    case ErrorCode::kWorkerLost: return kExitEnvironment;
  }
  return kExitInternal;
}

int report_error(const Context& context, const Error& error) {
  const std::string place = error.where.empty() ? "" : error.where + ": ";
  context.err << context.err_style.red("error: ") << place << error.message << "\n";
  if (!error.remedy.empty()) {
    context.err << context.err_style.dim("   try: ") << error.remedy << "\n";
  }
  if (context.json()) print_json_line(context, Json{{"error", error_to_json(error)}});
  return exit_code_of(error.code);
}

void print_json(const Context& context, const Json& document) {
  context.out << dump_json_pretty(document) << "\n";
}

void print_json_line(const Context& context, const Json& document) {
  context.out << dump_json(document) << "\n" << std::flush;
}

}  // namespace fib
