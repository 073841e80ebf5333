// fib signature: what kernels are wanted.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "agents/contract.h"
#include "integrations/cli/commands.h"
#include "integrations/cli/solution_files.h"
#include "integrations/cli/text.h"
#include "signatures/family.h"

namespace fib {

namespace {

Result<int> list(const Context& context, const std::string& op_type) {
  const Catalog catalog = FIB_TRY(open_catalog(context));
  Json entries = Json::array();
  Table table({{"op type"}, {"signature"}, {"description"}});
  for (const SignaturePtr& signature : catalog.all()) {
    if (!op_type.empty() && signature->op_type != op_type) continue;
    entries.push_back({{"name", signature->name},
                       {"op_type", signature->op_type},
                       {"family", signature->fib.family},
                       {"description", signature->description.value_or("")},
                       {"tags", signature->tags}});
    table.add({signature->op_type, signature->name, signature->description.value_or("")});
  }
  if (context.json()) {
    print_json(context, {{"signatures", entries}});
  } else {
    table.print(context.out, context.out_style);
  }
  return kExitPassed;
}

std::string shape_text(const TensorSpec& tensor) {
  if (!tensor.shape) return "scalar";
  std::string text = "[";
  for (const std::string& axis : *tensor.shape) {
    if (text.size() > 1) text += ", ";
    text += axis;
  }
  return text + "]";
}

void print_tensors(const Context& context, const Signature& signature, std::string_view title,
                   const std::vector<TensorSpec>& tensors) {
  context.out << "\n" << context.out_style.bold(title) << "\n";
  Table table({{""}, {""}, {""}, {""}});
  for (const TensorSpec& tensor : tensors) {
    std::string notes;
    if (signature.is_weight(tensor.name)) notes = "weight";
    if (signature.is_host_visible(tensor.name)) notes = "host-visible";
    if (tensor.description) notes += (notes.empty() ? "" : "; ") + *tensor.description;
    table.add({tensor.name, std::string(dtype_name(tensor.dtype)), shape_text(tensor),
               context.out_style.dim(notes)});
  }
  table.print(context.out, context.out_style, "  ");
}

Result<int> show(const Context& context, const std::string& name) {
  const Catalog catalog = FIB_TRY(open_catalog(context));
  const SignaturePtr signature = FIB_TRY(catalog.find(name));
  if (context.json()) {
    print_json(context, signature_to_json(*signature));
    return kExitPassed;
  }
  const Style& style = context.out_style;
  context.out << style.bold(signature->name) << "  " << signature->op_type << "\n";
  if (signature->description) context.out << *signature->description << "\n";
  context.out << "\n" << style.bold("Axes") << "\n";
  Table axes({{""}, {""}, {""}});
  for (const Axis& axis : signature->axes) {
    axes.add({axis.name,
              axis.kind == Axis::Kind::kConst ? std::to_string(axis.value) : "per workload",
              style.dim(axis.description.value_or(""))});
  }
  axes.print(context.out, style, "  ");
  print_tensors(context, *signature, "Inputs", signature->inputs);
  print_tensors(context, *signature, "Outputs", signature->outputs);
  if (!signature->constraints.empty()) {
    context.out << "\n" << style.bold("Constraints") << "\n";
    for (const Expression& constraint : signature->constraints) {
      context.out << "  " << constraint.text() << "\n";
    }
  }
  if (!signature->fib.parameters.empty()) {
    context.out << "\n" << style.bold("Parameters") << "\n";
    for (const auto& [parameter, value] : signature->fib.parameters) {
      context.out << fmt::format("  {} = {:.9g}\n", parameter, value);
    }
  }
  if (!signature->fib.tolerances.empty()) {
    context.out << "\n" << style.bold("Judged by") << "\n";
    for (const auto& [output, tolerance] : signature->fib.tolerances) {
      context.out << fmt::format("  {}: {}\n", output, tolerance_in_words(tolerance));
      if (!tolerance.reason.empty()) context.out << style.dim("    " + tolerance.reason) << "\n";
    }
  }
  context.out << "\n"
              << style.bold("Python reference") << "\n"
              << first_lines(signature->reference, 60, "  ");
  return kExitPassed;
}

// A family file, one of our definitions, or a foreign one.
Result<size_t> validate_file(const std::filesystem::path& file) {
  const Json json = FIB_TRY(read_json_file(file));
  if (json.is_object() && json.contains("family")) return FIB_TRY(read_family(file)).size();
  const bool is_ours = json.is_object() && json.contains("fib");
  FIB_TRY(read_signature(file, is_ours ? Strictness::kStrict : Strictness::kTolerant));
  return 1;
}

Result<int> validate(const Context& context, const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    return fail(ErrorCode::kNotFound, "no such file or folder", path.string());
  }
  const std::vector<std::filesystem::path> files =
      std::filesystem::is_directory(path) ? files_below(path, {".json"}) : std::vector{path};
  int code = kExitPassed;
  size_t valid = 0;
  Json errors = Json::array();
  for (const std::filesystem::path& file : files) {
    const auto count = validate_file(file);
    if (count) {
      valid += *count;
      continue;
    }
    code = exit_code_of(count.error().code);
    errors.push_back(error_to_json(count.error()));
    if (!context.json()) report_error(context, count.error());
  }
  if (context.json()) {
    print_json(context, {{"files", files.size()}, {"signatures", valid}, {"errors", errors}});
  } else {
    context.out << fmt::format("{}: {} valid, {}\n", counted(files.size(), "file"),
                               counted(valid, "signature"), counted(errors.size(), "error"));
  }
  return code;
}

}  // namespace

void add_signature_command(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("signature", "List, show and validate signatures");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  fib signature list\n"
      "  fib signature show rmsnorm_h4096\n"
      "  fib signature validate definitions/mine.json\n");

  CLI::App* list_command = command->add_subcommand("list", "All signatures there are");
  auto op_type = std::make_shared<std::string>();
  list_command->add_option("--op-type", *op_type, "Only those of this op type");
  list_command->footer("Example:\n  fib signature list --op-type moe\n");
  list_command->callback([op_type, &action] {
    action = [op_type](const Context& context) { return list(context, *op_type); };
  });

  CLI::App* show_command = command->add_subcommand("show", "Axes, tensors, tolerances, reference");
  auto name = std::make_shared<std::string>();
  show_command->add_option("name", *name, "Its name; a family's unlisted instance will do")
      ->required();
  show_command->footer("Example:\n  fib signature show gemm_n4096_k4096 --json\n");
  show_command->callback([name, &action] {
    action = [name](const Context& context) { return show(context, *name); };
  });

  CLI::App* validate_command = command->add_subcommand("validate", "Check definition files");
  auto path = std::make_shared<std::filesystem::path>();
  validate_command->add_option("path", *path, "A definition, a family file, or a folder of them")
      ->required();
  validate_command->footer("Example:\n  fib signature validate my-dataset/definitions\n");
  validate_command->callback([path, &action] {
    action = [path](const Context& context) { return validate(context, *path); };
  });
}

}  // namespace fib
