// Solution documents: docs/formats.md, "Solution".

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "signatures/base/file.h"
#include "signatures/base/hash.h"
#include "signatures/document.h"
#include "signatures/trace.h"

namespace fib {
namespace {

constexpr std::pair<SolutionLanguage, std::string_view> kLanguageNames[] = {
    {SolutionLanguage::kPython, "python"}, {SolutionLanguage::kTriton, "triton"},
    {SolutionLanguage::kCpp, "cpp"},       {SolutionLanguage::kCuda, "cuda"},
    {SolutionLanguage::kTilelang, "tilelang"},
};

Result<std::vector<SourceFile>> read_sources(const JsonView& view, Strictness strictness) {
  const auto items = FIB_TRY(view.array());
  if (items.empty()) return view.error("a solution needs at least one source");
  std::vector<SourceFile> sources;
  for (const JsonView& item : items) {
    if (strictness == Strictness::kStrict) FIB_CHECK(item.only_keys({"path", "content"}));
    const JsonView path = FIB_TRY(item.at("path"));
    SourceFile source;
    source.path = FIB_TRY(path.non_empty_string());
    if (!is_safe_relative_path(source.path)) {
      return path.error(fmt::format("source path '{}' leaves the solution", source.path),
                        "a relative path without '..'");
    }
    for (const SourceFile& other : sources) {
      if (other.path == source.path) {
        return path.error(fmt::format("source '{}' is there twice", source.path));
      }
    }
    source.content = FIB_TRY(FIB_TRY(item.at("content")).string());
    sources.push_back(std::move(source));
  }
  return sources;
}

Result<void> read_spec(Solution& solution, const JsonView& view, Strictness strictness) {
  if (strictness == Strictness::kStrict) {
    FIB_CHECK(view.only_keys({"language", "target_hardware", "entry_point", "dependencies",
                              "destination_passing_style", "binding"}));
  }
  const JsonView language = FIB_TRY(view.at("language"));
  const std::string name = FIB_TRY(language.string());
  const auto entry = std::find_if(std::begin(kLanguageNames), std::end(kLanguageNames),
                                  [&](const auto& known) { return known.second == name; });
  if (entry == std::end(kLanguageNames)) {
    return language.error(fmt::format("there is no language '{}'", name),
                          "python, triton, cpp, cuda or tilelang");
  }
  solution.language = entry->first;
  const JsonView hardware = FIB_TRY(view.at("target_hardware"));
  solution.target_hardware = FIB_TRY(hardware.strings());
  if (solution.target_hardware.empty()) return hardware.error("no hardware is named");
  const JsonView entry_point = FIB_TRY(view.at("entry_point"));
  solution.entry_point = FIB_TRY(entry_point.string());
  const size_t separator = solution.entry_point.find("::");
  const bool is_pair = separator != std::string::npos && separator > 0 &&
                       separator + 2 < solution.entry_point.size() &&
                       solution.entry_point.find("::", separator + 2) == std::string::npos;
  if (!is_pair) {
    return entry_point.error(fmt::format("'{}' is not an entry point", solution.entry_point),
                             "\"file::function\"");
  }
  const std::string file = solution.entry_point.substr(0, separator);
  if (std::none_of(solution.sources.begin(), solution.sources.end(),
                   [&](const SourceFile& source) { return source.path == file; })) {
    return entry_point.error(fmt::format("'{}' is not among the sources", file));
  }
  if (const auto dependencies = view.find("dependencies")) {
    solution.dependencies = FIB_TRY(dependencies->strings());
  }
  if (const auto style = view.find("destination_passing_style")) {
    solution.destination_passing_style = FIB_TRY(style->boolean());
  }
  if (const auto binding = view.find("binding")) {
    solution.binding = FIB_TRY(binding->string());
    if (*solution.binding != "tvm-ffi" && *solution.binding != "torch") {
      return binding->error(fmt::format("there is no binding '{}'", *solution.binding),
                            "\"tvm-ffi\", \"torch\" or null");
    }
  }
  return {};
}

}  // namespace

std::string_view language_name(SolutionLanguage language) {
  return std::find_if(std::begin(kLanguageNames), std::end(kLanguageNames),
                      [&](const auto& entry) { return entry.first == language; })
      ->second;
}

Result<Solution> solution_from_json(const Json& json, std::string_view where,
                                    Strictness strictness) {
  const JsonView root(json, std::string(where));
  if (strictness == Strictness::kStrict) {
    FIB_CHECK(root.only_keys(
        {"name", "definition", "author", "spec", "sources", "description", "fib"}));
  }
  Solution solution;
  const JsonView name = FIB_TRY(root.at("name"));
  solution.name = FIB_TRY(name.non_empty_string());
  solution.definition = FIB_TRY(FIB_TRY(root.at("definition")).non_empty_string());
  solution.author = FIB_TRY(FIB_TRY(root.at("author")).non_empty_string());
  if (const auto description = root.find("description")) {
    solution.description = FIB_TRY(description->string());
  }
  solution.sources = FIB_TRY(read_sources(FIB_TRY(root.at("sources")), strictness));
  const JsonView spec = FIB_TRY(root.at("spec"));
  FIB_CHECK(read_spec(solution, spec, strictness));
  if (const auto fib = root.find("fib")) {
    FIB_CHECK(fib->object());
    solution.fib = fib->json();
  }
  solution.original = json;
  solution.where = std::string(where);
  return solution;
}

Json solution_to_json(const Solution& solution) {
  const Json& original = solution.original;
  Json json = Json::object();
  json["name"] = solution.name;
  json["definition"] = solution.definition;
  json["author"] = solution.author;
  Json spec = Json::object();
  spec["language"] = language_name(solution.language);
  spec["target_hardware"] = solution.target_hardware;
  spec["entry_point"] = solution.entry_point;
  spec["dependencies"] = solution.dependencies;
  spec["destination_passing_style"] = solution.destination_passing_style;
  if (solution.binding) spec["binding"] = *solution.binding;
  json["spec"] = overlay(member(original, "spec"), spec,
                         {"language", "target_hardware", "entry_point", "dependencies",
                          "destination_passing_style", "binding"});
  json["sources"] = Json::array();
  for (const SourceFile& source : solution.sources) {
    Json item = Json::object();
    item["path"] = source.path;
    item["content"] = source.content;
    json["sources"].push_back(std::move(item));
  }
  if (!solution.description.empty()) json["description"] = solution.description;
  if (!solution.fib.is_null()) json["fib"] = solution.fib;
  return overlay(original, json,
                 {"name", "definition", "author", "spec", "sources", "description", "fib"});
}

std::string ecosystem_solution_hash(const Solution& solution) {
  std::string text = solution.definition;
  text += language_name(solution.language);
  text += solution.entry_point;
  text += solution.binding.value_or("");
  for (const std::string& dependency : solution.dependencies) text += dependency;
  for (const SourceFile& source : solution.sources) text += source.path + source.content;
  return sha1_hex(text);
}

std::string solution_key(const Solution& solution) {
  Hasher hasher;
  hasher.add("solution 1");
  hasher.add(solution.definition).add(language_name(solution.language)).add(solution.entry_point);
  hasher.add(solution.binding.value_or(""));
  hasher.add(static_cast<uint64_t>(solution.destination_passing_style ? 1 : 0));
  hasher.add(static_cast<uint64_t>(solution.dependencies.size()));
  for (const std::string& dependency : solution.dependencies) hasher.add(dependency);
  // Of the manifest, what changes a build; its license doesn't.
  for (const char* key : {"target", "entry", "plan", "kernels", "flags"}) {
    hasher.add(dump_json(member(solution.fib, key)));
  }
  // The order in which files are listed doesn't matter, so it isn't hashed.
  std::vector<const SourceFile*> sources;
  for (const SourceFile& source : solution.sources) sources.push_back(&source);
  std::sort(sources.begin(), sources.end(),
            [](const SourceFile* a, const SourceFile* b) { return a->path < b->path; });
  hasher.add(static_cast<uint64_t>(sources.size()));
  for (const SourceFile* source : sources) hasher.add(source->path).add(source->content);
  return hasher.hex();
}

}  // namespace fib
