#include "integrations/package/runtime/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>

#include "integrations/package/runtime/last_error.h"
#include "integrations/package/runtime/targets.h"
#include "signatures/base/suggest.h"

namespace fib::package {
namespace {

std::string parameters_text(const SignatureRow& row, std::span<const double> values) {
  std::string text;
  for (size_t i = 0; i < values.size(); ++i) {
    text +=
        fmt::format("{}{}={}", text.empty() ? "" : ", ", row.info.parameters[i].name, values[i]);
  }
  return text;
}

std::vector<double> built_values(const SignatureRow& row) {
  std::vector<double> values;
  for (int32_t i = 0; i < row.info.num_parameters; ++i) {
    values.push_back(row.info.parameters[i].value);
  }
  return values;
}

// The values that a caller means: the signature's own where it names none.
Result<std::vector<double>> wanted_values(const SignatureRow& row,
                                          const fib_kernels_parameter* parameters, size_t count) {
  std::vector<double> wanted(row.own_parameters.begin(), row.own_parameters.end());
  for (size_t i = 0; i < count; ++i) {
    const char* const name = parameters[i].name;
    const auto end = row.info.parameters + row.info.num_parameters;
    const auto known = std::find_if(row.info.parameters, end, [&](const auto& parameter) {
      return name != nullptr && std::string_view(parameter.name) == name;
    });
    if (known == end) {
      return fail(ErrorCode::kNotFound,
                  fmt::format("no parameter '{}'; it has: {}", name == nullptr ? "NULL" : name,
                              parameters_text(row, built_values(row))),
                  row.info.name);
    }
    wanted.at(static_cast<size_t>(known - row.info.parameters)) = parameters[i].value;
  }
  return wanted;
}

// Engines keep such constants as float32: 1e-6f is 1e-6 here.
bool are_same_floats(const std::vector<double>& a, const std::vector<double>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](double x, double y) {
    return static_cast<float>(x) == static_cast<float>(y);
  });
}

}  // namespace

Result<std::unique_ptr<fib_kernels_device>> Device::open(const PackageTable& table,
                                                         std::unique_ptr<Target> target) {
  auto device = std::make_unique<fib_kernels_device>(std::move(target));
  bool is_served = false;
  for (const SignatureRow& row : table.signatures) {
    auto op = FIB_TRY(Op::open(row, device->target(), device->life_));
    is_served |= !op->solutions().empty();
    device->by_name_[row.info.name].push_back(op.get());
    device->ops_.push_back(std::move(op));
  }
  if (is_served) return device;
  return fail(ErrorCode::kUnsupported,
              fmt::format("no kernel of the package runs on {}", device->hardware()),
              fmt::format("{} {}", table.name, table.version),
              "export one for this hardware: fib export --help");
}

bool Device::has_winners() const {
  return std::any_of(ops_.begin(), ops_.end(),
                     [](const auto& op) { return op->solutions().has_winners(); });
}

fib_kernels_status Device::find(std::string_view signature, const fib_kernels_parameter* parameters,
                                size_t num_parameters, const fib_kernels_op** op) const {
  const auto rows = by_name_.find(signature);
  if (rows == by_name_.end()) {
    std::vector<std::string_view> names;
    for (const auto& [name, unused] : by_name_) names.push_back(name);
    const auto nearest = nearest_word(signature, names);
    return refuse(FIB_KERNELS_NOT_FOUND, "no signature '{}' in this package{}", signature,
                  nearest ? fmt::format("; did you mean '{}'?", *nearest) : "");
  }
  std::string asked, built;
  const fib_kernels_op* found = nullptr;
  for (const fib_kernels_op* candidate : rows->second) {
    const SignatureRow& row = candidate->row();
    const auto wanted = wanted_values(row, parameters, num_parameters);
    if (!wanted) return refuse(wanted.error(), Stage::kCalling);
    const std::vector<double> values = built_values(row);
    if (values == *wanted || (found == nullptr && are_same_floats(values, *wanted))) {
      found = candidate;
    }
    if (values == *wanted) break;
    asked = parameters_text(row, *wanted);
    built += fmt::format("{}({})", built.empty() ? "" : ", ", parameters_text(row, values));
  }
  if (found == nullptr) {
    return refuse(FIB_KERNELS_NOT_FOUND, "{}: not built for ({}), only for {}", signature, asked,
                  built);
  }
  if (found->solutions().empty()) {
    return refuse(FIB_KERNELS_UNSUPPORTED, "{}: no kernel of the package runs on {}", signature,
                  hardware());
  }
  *op = found;
  return FIB_KERNELS_OK;
}

fib_kernels_status open_device(const PackageTable& table, const fib_kernels_device_options& options,
                               std::unique_ptr<fib_kernels_device>* device) {
  if (table.table_version != kTableVersion) {
    return refuse(FIB_KERNELS_INTERNAL, "the package's table is of version {}, its library of {}",
                  table.table_version, kTableVersion);
  }
  const bool is_cpu = options.device_type == kFibKernelsCpu;
  if (!is_cpu && options.device_type != kFibKernelsCuda) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT,
                  "options.device_type is {}; {} is the CPU, {} a card", options.device_type,
                  int{kFibKernelsCpu}, int{kFibKernelsCuda});
  }
  if (options.device_id < 0 || (is_cpu && options.device_id != 0)) {
    return refuse(FIB_KERNELS_INVALID_ARGUMENT, "options.device_id is {}; {}", options.device_id,
                  is_cpu ? "the CPU is 0" : "cards are counted from 0");
  }
  auto target = is_cpu ? open_cpu_target(options) : open_cuda_target(options);
  if (!target) return refuse(target.error(), Stage::kOpening);
  auto opened = Device::open(table, *std::move(target));
  if (!opened) return refuse(opened.error(), Stage::kOpening);
  *device = *std::move(opened);
  return FIB_KERNELS_OK;
}

}  // namespace fib::package
