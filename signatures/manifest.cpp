#include "signatures/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "signatures/design_space_json.h"
#include "signatures/document.h"

namespace fib {
namespace {

bool contains(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// -DNAME or -DNAME=VALUE. Names the harness defines itself stay out of reach.
bool is_allowed_define(std::string_view flag) {
  if (!flag.starts_with("-D")) return false;
  flag.remove_prefix(2);
  const size_t equals = flag.find('=');
  const std::string_view name = flag.substr(0, equals);
  if (!is_identifier(name) || name.starts_with("FIB_") || name.starts_with("__")) return false;
  if (equals == std::string_view::npos) return true;
  const std::string_view value = flag.substr(equals + 1);
  return !value.empty() && std::all_of(value.begin(), value.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '_' || c == '.' || c == '-' || c == '+' || c == ':';
  });
}

bool is_allowed_register_limit(std::string_view flag) {
  constexpr std::string_view kPrefix = "-maxrregcount=";
  if (!flag.starts_with(kPrefix)) return false;
  int count = 0;
  const char* const end = flag.data() + flag.size();
  const auto parsed = std::from_chars(flag.data() + kPrefix.size(), end, count);
  return parsed.ec == std::errc() && parsed.ptr == end && count >= 16 && count <= 255;
}

constexpr std::string_view kCommonFlags[] = {"-std=c++17", "-std=c++20"};
constexpr std::string_view kCudaFlags[] = {"-use_fast_math", "--use_fast_math",
                                           "--extra-device-vectorization", "-lineinfo"};
constexpr std::string_view kCpuFlags[] = {"-O1", "-O2", "-O3", "-ffast-math", "-fno-math-errno",
                                          "-funroll-loops"};

template <class List>
bool is_listed(const List& list, std::string_view flag) {
  return std::find(std::begin(list), std::end(list), flag) != std::end(list);
}

bool is_allowed_flag(std::string_view flag, std::string_view target) {
  if (is_allowed_define(flag) || is_listed(kCommonFlags, flag)) return true;
  if (target == "cuda") return is_allowed_register_limit(flag) || is_listed(kCudaFlags, flag);
  return is_listed(kCpuFlags, flag);
}

constexpr std::string_view kFlagRemedy =
    "-DNAME[=VALUE], -std=c++17|20; cuda: -maxrregcount=N, -use_fast_math, "
    "--extra-device-vectorization, -lineinfo; cpu: -O1..3, -ffast-math, -fno-math-errno, "
    "-funroll-loops. The architecture is the harness's choice";

Result<void> read_cuda_fields(SolutionManifest& manifest, const JsonView& view,
                              const std::vector<std::string>& sources) {
  const JsonView plan = FIB_TRY(view.at("plan"));
  manifest.plan = FIB_TRY(plan.non_empty_string());
  if (!contains(sources, manifest.plan)) {
    return plan.error(fmt::format("'{}' is not among the sources", manifest.plan));
  }
  if (manifest.plan == manifest.entry) {
    return plan.error("the plan is host code and the entry device code; they are two files");
  }
  const JsonView kernels = FIB_TRY(view.at("kernels"));
  manifest.kernels = FIB_TRY(kernels.strings());
  if (manifest.kernels.empty()) {
    return kernels.error("no kernel is named", "a list of name expressions: \"rmsnorm<{axis}>\"");
  }
  for (const std::string& kernel : manifest.kernels) {
    if (kernel.empty()) return kernels.error("a kernel's name is empty");
    if (std::count(manifest.kernels.begin(), manifest.kernels.end(), kernel) > 1) {
      return kernels.error(fmt::format("kernel '{}' is there twice", kernel));
    }
  }
  return {};
}

}  // namespace

Result<SolutionManifest> read_manifest_fields(const JsonView& view,
                                              const std::vector<std::string>& sources) {
  SolutionManifest manifest;
  const JsonView target = FIB_TRY(view.at("target"));
  manifest.target = FIB_TRY(target.string());
  if (manifest.target != "cuda" && manifest.target != "cpu") {
    return target.error(fmt::format("there is no target '{}'", manifest.target),
                        "\"cuda\" or \"cpu\"");
  }
  const JsonView entry = FIB_TRY(view.at("entry"));
  manifest.entry = FIB_TRY(entry.non_empty_string());
  if (!contains(sources, manifest.entry)) {
    return entry.error(fmt::format("'{}' is not among the sources", manifest.entry));
  }
  if (manifest.target == "cuda") {
    FIB_CHECK(read_cuda_fields(manifest, view, sources));
  } else {
    for (const char* key : {"plan", "kernels"}) {
      if (const auto field = view.find(key)) {
        return field->error(fmt::format("a cpu solution has no '{}'", key), "remove it");
      }
    }
  }
  if (const auto flags = view.find("flags")) {
    const auto items = FIB_TRY(flags->array());
    for (const JsonView& item : items) {
      std::string flag = FIB_TRY(item.string());
      if (!is_allowed_flag(flag, manifest.target)) {
        return item.error(fmt::format("flag '{}' is not allowed for {}", flag, manifest.target),
                          std::string(kFlagRemedy));
      }
      manifest.flags.push_back(std::move(flag));
    }
  }
  if (const auto license = view.find("license")) manifest.license = FIB_TRY(license->string());
  manifest.space = FIB_TRY(read_design_space(view, sources));
  return manifest;
}

Json manifest_to_json(const SolutionManifest& manifest) {
  Json json = Json::object();
  json["target"] = manifest.target;
  json["entry"] = manifest.entry;
  if (!manifest.plan.empty()) json["plan"] = manifest.plan;
  if (!manifest.kernels.empty()) json["kernels"] = manifest.kernels;
  if (!manifest.flags.empty()) json["flags"] = manifest.flags;
  if (!manifest.license.empty()) json["license"] = manifest.license;
  write_design_space(manifest.space, json);
  return json;
}

}  // namespace fib
