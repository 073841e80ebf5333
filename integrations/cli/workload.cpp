// fib workload: what real traffic asks of a signature.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <ostream>

#include "integrations/cli/commands.h"
#include "integrations/cli/evaluation.h"
#include "integrations/cli/text.h"
#include "integrations/cli/units.h"
#include "integrations/cli/workload_values.h"
#include "workloads/inputs.h"
#include "workloads/workload_set.h"

namespace fib {

namespace {

struct WorkloadArgs {
  std::string signature, workload;
  WorkloadChoice choice;
  std::filesystem::path out;
  uint64_t seed = 1;
};

std::string axes_text(const Problem& problem) {
  std::string text;
  for (const Axis& axis : problem.signature->axes) {
    if (axis.kind != Axis::Kind::kVar) continue;
    text += fmt::format("{}{}={}", text.empty() ? "" : " ", axis.name, problem.axes.at(axis.name));
  }
  return text;
}

Json axes_json(const Problem& problem) {
  Json axes = Json::object();
  for (const auto& [name, value] : problem.axes) axes[name] = value;
  return axes;
}

size_t total_bytes(const std::vector<TensorDesc>& tensors) {
  size_t bytes = 0;
  for (const TensorDesc& tensor : tensors) bytes += tensor.size_bytes();
  return bytes;
}

Result<int> list(const Context& context, const WorkloadArgs& args) {
  const Catalog catalog = FIB_TRY(open_catalog(context, args.choice.path));
  const SignaturePtr signature = FIB_TRY(catalog.find(args.signature));
  Json entries = Json::array();
  Table table({{"workload"}, {"axes"}, {"weight", Align::kRight}, {"inputs", Align::kRight}});
  int code = kExitPassed;
  for (const Workload& workload : FIB_TRY(choose_workloads(context, *signature, args.choice))) {
    const auto problem = bind(signature, workload);
    if (!problem) {
      code = report_error(context, problem.error());
      continue;
    }
    entries.push_back({{"workload", workload_id(workload)},
                       {"axes", axes_json(*problem)},
                       {"weight", workload.weight},
                       {"input_bytes", total_bytes(problem->inputs)}});
    table.add({workload_id(workload), axes_text(*problem), fmt::format("{:g}", workload.weight),
               format_bytes(static_cast<double>(total_bytes(problem->inputs)))});
  }
  if (context.json()) {
    print_json(context, {{"signature", signature->name}, {"workloads", entries}});
  } else {
    table.print(context.out, context.out_style);
  }
  return code;
}

std::string source_text(const InputValue& value) {
  if (std::holds_alternative<Generated>(value.source)) return "generated from the seed";
  if (std::holds_alternative<InputBytes>(value.source)) return "fixed by the workload";
  return fmt::format("{:.9g}", std::get<double>(value.source));
}

// The one workload that the arguments name.
Result<Workload> find_workload(const Context& context, const Signature& signature,
                               const WorkloadArgs& args) {
  for (Workload& workload : FIB_TRY(choose_workloads(context, signature, args.choice))) {
    if (workload_id(workload) == args.workload) return std::move(workload);
  }
  return fail(ErrorCode::kNotFound,
              fmt::format("{} has no workload '{}'", signature.name, args.workload), "",
              "'fib workload list " + signature.name + "' lists them");
}

Result<int> show(const Context& context, const WorkloadArgs& args) {
  const Catalog catalog = FIB_TRY(open_catalog(context, args.choice.path));
  const SignaturePtr signature = FIB_TRY(catalog.find(args.signature));
  const Workload workload = FIB_TRY(find_workload(context, *signature, args));
  if (context.json()) {
    print_json(context, workload_to_json(workload));
    return kExitPassed;
  }
  const InputPlan plan = FIB_TRY(plan_inputs(FIB_TRY(bind(signature, workload))));
  const Style& style = context.out_style;
  context.out << style.bold(workload_id(workload)) << "  " << signature->name << "\n"
              << fmt::format("weight {:g}, from {}\n\n", workload.weight, workload.where);
  Table axes({{"axis"}, {"value", Align::kRight}});
  for (const auto& [name, value] : plan.problem.axes) axes.add({name, std::to_string(value)});
  axes.print(context.out, style, "  ");
  context.out << "\n";
  Table inputs({{"input"}, {"dtype"}, {"shape"}, {"size", Align::kRight}, {"values"}});
  for (const InputValue& value : plan.structure) {
    inputs.add({value.desc.name, std::string(dtype_name(value.desc.dtype)),
                value.desc.is_host_scalar ? "scalar" : Json(value.desc.shape).dump(),
                format_bytes(static_cast<double>(value.desc.size_bytes())), source_text(value)});
  }
  inputs.print(context.out, style, "  ");
  for (const std::string& note : plan.notes) context.out << style.dim("  " + note) << "\n";
  return kExitPassed;
}

Result<int> values(const Context& context, const WorkloadArgs& args) {
  const Catalog catalog = FIB_TRY(open_catalog(context, args.choice.path));
  const SignaturePtr signature = FIB_TRY(catalog.find(args.signature));
  const Workload workload = FIB_TRY(find_workload(context, *signature, args));
  const Problem problem = FIB_TRY(bind(signature, workload));
  const WrittenValues written = FIB_TRY(write_workload_values(problem, args.seed, args.out));
  if (context.json()) {
    print_json(context, {{"file", args.out.string()},
                         {"signature", signature->name},
                         {"workload", args.workload},
                         {"seed", args.seed},
                         {"tensors", written.tensors},
                         {"size_bytes", written.size_bytes}});
  } else {
    context.out << fmt::format("wrote {}: {}, {}, seed {}\n", args.out.string(),
                               counted(written.tensors, "tensor"),
                               format_bytes(static_cast<double>(written.size_bytes)), args.seed);
  }
  return kExitPassed;
}

// Binds and plans every row: blobs are read, indices checked against their bounds.
Result<int> validate(const Context& context, const WorkloadArgs& args) {
  const Catalog catalog = FIB_TRY(open_catalog(context, args.choice.path));
  int64_t valid = 0;
  int code = kExitPassed;
  Json errors = Json::array();
  const auto note = [&](const Error& error) {
    code = exit_code_of(error.code);
    errors.push_back(error_to_json(error));
    if (!context.json()) report_error(context, error);
  };
  for (const WorkloadSet& set : FIB_TRY(read_workloads(args.choice.path, args.signature))) {
    const auto signature = catalog.find(set.signature);
    if (!signature) {
      note(signature.error());
      continue;
    }
    for (const Workload& workload : set.workloads) {
      auto problem = bind(*signature, workload);
      if (!problem) {
        note(problem.error());
      } else if (const auto plan = plan_inputs(*problem); !plan) {
        note(plan.error());
      } else {
        ++valid;
      }
    }
  }
  if (context.json()) {
    print_json(context, {{"workloads", valid}, {"errors", errors}});
  } else {
    context.out << fmt::format("{} valid, {}\n", counted(valid, "workload"),
                               counted(errors.size(), "error"));
  }
  return code;
}

CLI::App* add_part(CLI::App& command, const char* name, const char* help,
                   const std::shared_ptr<WorkloadArgs>& args, Action& action,
                   Result<int> (*part)(const Context&, const WorkloadArgs&)) {
  CLI::App* added = command.add_subcommand(name, help);
  added->callback([args, part, &action] {
    action = [args, part](const Context& context) { return part(context, *args); };
  });
  return added;
}

}  // namespace

void add_workload_command(CLI::App& app, Action& action) {
  auto args = std::make_shared<WorkloadArgs>();
  CLI::App* command = app.add_subcommand("workload", "List, show, write and validate workloads");
  command->require_subcommand(1);
  command->footer(
      "Examples:\n"
      "  fib workload list rmsnorm_h4096\n"
      "  fib workload show rmsnorm_h4096 ID\n"
      "  fib workload values rmsnorm_h4096 ID --out values.safetensors\n"
      "  fib workload validate traffic.jsonl\n");

  CLI::App* list_command =
      add_part(*command, "list", "The workloads of a signature", args, action, list);
  list_command->add_option("signature", args->signature, "Its name")->required();
  list_command->add_option("--workloads", args->choice.path, "A .jsonl file or a dataset")
      ->type_name("FILE|DIR");
  list_command->add_option("--limit", args->choice.limit, "At most so many")
      ->check(CLI::PositiveNumber);
  list_command->footer("Example:\n  fib workload list gemm_n4096_k4096 --json\n");

  CLI::App* show_command = add_part(
      *command, "show", "Axes, inputs and where their values come from", args, action, show);
  show_command->add_option("signature", args->signature, "Its name")->required();
  show_command->add_option("workload", args->workload, "Its id")->required();
  show_command->add_option("--workloads", args->choice.path, "A .jsonl file or a dataset")
      ->type_name("FILE|DIR");
  show_command->footer("Example:\n  fib workload show rmsnorm_h4096 ID --json\n");

  CLI::App* values_command =
      add_part(*command, "values", "Write its inputs and exact outputs, to debug a kernel anywhere",
               args, action, values);
  values_command->add_option("signature", args->signature, "Its name")->required();
  values_command->add_option("workload", args->workload, "Its id")->required();
  values_command->add_option("-o,--out", args->out, "The file to write")
      ->required()
      ->type_name("FILE.safetensors");
  values_command
      ->add_option("--seed", args->seed, "Of the floating values; the judge's seeds are others")
      ->capture_default_str();
  values_command->add_option("--workloads", args->choice.path, "A .jsonl file or a dataset")
      ->type_name("FILE|DIR");
  values_command->footer(
      "The file holds input.NAME as a kernel is given it, expected.NAME in float32; host scalars\n"
      "are in its metadata.\n"
      "Example:\n  fib workload values rmsnorm_h64 rmsnorm_h64-m1 --out values.safetensors\n");

  CLI::App* validate_command =
      add_part(*command, "validate", "Check rows, their blobs and indices", args, action, validate);
  validate_command->add_option("path", args->choice.path, "A .jsonl file or a dataset")->required();
  validate_command->add_option("--signature", args->signature, "Rows of this signature only");
  validate_command->footer("Example:\n  fib workload validate traffic.jsonl\n");
}

}  // namespace fib
