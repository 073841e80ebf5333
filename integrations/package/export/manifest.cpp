#include "integrations/package/export/manifest.h"

#include <fmt/format.h>

#include <map>

#include "integrations/package/export/check_spec.h"
#include "integrations/package/include/fib_kernels.h"
#include "signatures/base/hash.h"

namespace fib {
namespace {

constexpr int kManifestVersion = 1;
constexpr size_t kKeyDigits = 8;

Json names_of(const std::vector<size_t>& indices, const PackagedSignature& packaged) {
  Json names = Json::array();
  for (const size_t index : indices) names.push_back(packaged.solutions[index].name);
  return names;
}

Json parameters_of(const PackagedSignature& packaged) {
  Json parameters = Json::object();
  size_t i = 0;
  for (const auto& [name, value] : packaged.signature->fib.parameters) {
    parameters[name] = {{"value", value}, {"signature", packaged.own_parameters[i++]}};
  }
  return parameters;
}

Json solution_of(const Solution& solution, const CompiledSolution& compiled) {
  Json architectures = Json::array(), levels = Json::array();
  for (const DeviceCode& code : compiled.binaries) architectures.push_back(code.architecture);
  for (const CpuObject& object : compiled.cpu) levels.push_back(object.level);
  return {{"name", solution.name},
          {"key", solution_key(solution)},
          {"author", solution.author},
          {"license", solution_license(solution)},
          {"target", solution_target(solution)},
          {"cuda_architectures", std::move(architectures)},
          {"cpu_levels", std::move(levels)}};
}

Json ranges_of(const BucketChoice& bucket) {
  Json ranges = Json::object();
  for (const AxisInterval& range : bucket.where) {
    const bool is_open = range.high == std::numeric_limits<int64_t>::max();
    ranges[range.axis] = {range.low, is_open ? Json() : Json(range.high)};
  }
  return ranges;
}

Json evidence_of(const Evidence& evidence) {
  return {{"speedup", evidence.speedup},
          {"speedup_low", evidence.speedup_low},
          {"speedup_high", evidence.speedup_high},
          {"over", evidence.incumbent},
          {"workloads", evidence.workloads},
          {"verdicts", evidence.verdicts},
          {"measured", evidence.measured},
          {"changed_headers", evidence.changed_headers ? Json(*evidence.changed_headers) : Json()}};
}

Json hardware_of(const HardwareChoices& choices, const PackagedSignature& packaged) {
  Json buckets = Json::array();
  for (const BucketChoice& bucket : choices.buckets) {
    buckets.push_back({{"where", ranges_of(bucket)},
                       {"solution", packaged.solutions[bucket.solution].name},
                       {"reason", bucket.reason},
                       {"evidence", evidence_of(bucket.evidence)}});
  }
  return {
      {"hardware", choices.hardware}, {"target", choices.target}, {"buckets", std::move(buckets)}};
}

// Whatever an author called it, a folder of this one's own.
std::string folder_name(std::string_view solution) {
  std::string name;
  for (const unsigned char c : solution) {
    const bool is_plain =
        c < 0x80 && (std::isalnum(c) != 0 || c == '-' || c == '_' || (c == '.' && !name.empty()));
    name += is_plain ? static_cast<char>(c) : '_';
  }
  return name;
}

}  // namespace

std::vector<SolutionFolder> solution_folders(const PackageSpec& spec) {
  std::map<std::string, std::map<std::string, const Solution*>> by_name;  // then by key
  for (const PackagedSignature& packaged : spec.signatures) {
    for (const Solution& solution : packaged.solutions) {
      by_name[folder_name(solution.name)].emplace(solution_key(solution), &solution);
    }
  }
  std::vector<SolutionFolder> folders;
  for (const auto& [name, by_key] : by_name) {
    for (const auto& [key, solution] : by_key) {
      const std::string suffix = by_key.size() > 1 ? "-" + key.substr(0, kKeyDigits) : "";
      folders.push_back({fmt::format("solutions/{}{}", name, suffix), solution});
    }
  }
  return folders;
}

Json package_manifest(const CompiledPackage& package, const std::vector<SolutionFolder>& folders,
                      const std::vector<std::string>& tvm_ffi_names,
                      const std::string& fib_version) {
  const PackageSpec& spec = package.spec;
  Json signatures = Json::array(), sources = Json::array();
  for (size_t i = 0; i < spec.signatures.size(); ++i) {
    const PackagedSignature& packaged = spec.signatures[i];
    Json solutions = Json::array(), hardware = Json::array();
    for (size_t s = 0; s < packaged.solutions.size(); ++s) {
      solutions.push_back(solution_of(packaged.solutions[s], package.solutions[i][s]));
    }
    for (const HardwareChoices& choices : packaged.hardware) {
      hardware.push_back(hardware_of(choices, packaged));
    }
    signatures.push_back({{"name", packaged.signature->name},
                          {"op_type", packaged.signature->op_type},
                          {"parameters", parameters_of(packaged)},
                          {"tvm_ffi", tvm_ffi_names[i]},
                          {"solutions", std::move(solutions)},
                          {"hardware", std::move(hardware)},
                          {"cuda_fallback", names_of(packaged.cuda_fallback, packaged)},
                          {"cpu_fallback", names_of(packaged.cpu_fallback, packaged)}});
  }
  for (const SolutionFolder& folder : folders) {
    Json files = Json::object();
    for (const SourceFile& source : folder.solution->sources) {
      files[source.path] = sha256_hex(source.content);
    }
    sources.push_back({{"name", folder.solution->name},
                       {"key", solution_key(*folder.solution)},
                       {"folder", folder.name},
                       {"sha256", std::move(files)},
                       {"fib_headers", folder.headers}});
  }
  return {{"format", "fib-kernels"},
          {"format_version", kManifestVersion},
          {"name", spec.name},
          {"version", spec.version},
          {"abi", fmt::format("{}.{}", FIB_KERNELS_ABI_MAJOR, FIB_KERNELS_ABI_MINOR)},
          {"fib_version", fib_version},
          {"created_from", spec.created_from},
          {"toolchain", package.toolchain},
          {"cuda_architectures", spec.cuda_architectures},
          {"cpu_levels", spec.cpu_levels},
          {"signatures", std::move(signatures)},
          {"sources", std::move(sources)}};
}

std::string license_notes(const PackageSpec& spec, const std::vector<SolutionFolder>& folders) {
  std::map<std::string, std::string> by_license;
  for (const SolutionFolder& folder : folders) {
    by_license[solution_license(*folder.solution)] += fmt::format(
        "  {} by {} ({})\n", folder.solution->name, folder.solution->author, folder.name);
  }
  std::string notes = fmt::format(
      "{} {} is made of works under these licences (SPDX identifiers):\n", spec.name, spec.version);
  for (const auto& [license, works] : by_license) notes += fmt::format("\n{}\n{}", license, works);
  return notes +
         "\nApache-2.0 (its text: LICENSE)\n  the run-time library in libfib_kernels.so, from "
         "fib\n";
}

}  // namespace fib
