#include "agents/search/intake.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "signatures/base/file.h"
#include "signatures/base/utf8.h"
#include "signatures/solution_folder.h"

namespace fib::agents {

namespace {

constexpr std::string_view kAuthor = "fib agent";
constexpr size_t kMostSourceBytes = size_t{8} << 20;  // as for a solution folder
constexpr size_t kMostNoteBytes = 400;

Refusal malformed(std::string message) { return {"malformed", std::move(message)}; }

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

std::optional<Refusal> refuse_sources(const Solution& solution) {
  size_t total_bytes = 0;
  std::set<std::string_view> paths;
  for (const SourceFile& source : solution.sources) {
    if (!is_utf8(source.path) || !is_utf8(source.content)) {
      return malformed("a source isn't UTF-8 text");
    }
    if (!is_safe_relative_path(source.path)) {
      return Refusal{"path", fmt::format("source path '{}' leaves the solution", source.path)};
    }
    if (!paths.insert(source.path).second) {
      return malformed(fmt::format("source '{}' is there twice", source.path));
    }
    total_bytes += source.content.size();
  }
  if (total_bytes > kMostSourceBytes) return malformed("the sources have more than 8 MiB in all");
  return std::nullopt;
}

std::optional<Refusal> refuse_manifest(const Solution& solution, const IntakeRequest& request) {
  const auto manifest = manifest_of(solution);
  if (!manifest) return malformed(manifest.error().to_string());
  const auto parent = manifest_of(request.parent.solution);
  if (parent && manifest->target != parent->target) {
    return malformed(
        fmt::format("is written for target '{}', not for '{}'", manifest->target, parent->target));
  }
  if (!solution_fits(solution, request.signature)) {
    return malformed(
        fmt::format("is for {}, not for {}", solution.definition, request.signature.name));
  }
  return std::nullopt;
}

}  // namespace

std::string one_line(std::string note) {
  if (!is_utf8(note)) return "";
  std::ranges::replace_if(
      note, [](unsigned char c) { return c < ' '; }, ' ');
  if (note.size() <= kMostNoteBytes) return note;
  note.resize(kMostNoteBytes);
  while (!is_utf8(note)) note.pop_back();  // a character may have been cut
  return note + "...";
}

std::variant<Solution, Refusal> take_in(const IntakeRequest& request, ProposalOutcome outcome) {
  if (outcome.solution.has_value() == outcome.refusal.has_value()) {
    return malformed("the proposer gave neither a solution nor a refusal, or both");
  }
  if (outcome.refusal) {
    if (outcome.refusal->reason.empty()) outcome.refusal->reason = "malformed";
    return *std::move(outcome.refusal);
  }
  Solution& solution = *outcome.solution;
  if (auto refusal = refuse_sources(solution)) return *std::move(refusal);
  if (auto refusal = refuse_manifest(solution, request)) return *std::move(refusal);
  const Solution& parent = request.parent.solution;
  if (solution_key(solution) == solution_key(parent)) {
    return Refusal{"unchanged", "is the parent itself"};
  }
  solution.name = fmt::format("{}-r{}-{}", request.seed_name, request.run, request.number);
  solution.author = kAuthor;
  // A work derived from another stays under its licence.
  if (parent.fib.contains("license")) {
    solution.fib["license"] = parent.fib["license"];
  } else {
    solution.fib.erase("license");
  }
  const std::string note = one_line(std::move(outcome.note));
  solution.description = fmt::format("{}{}by {} from {} ({})", note, note.empty() ? "" : "; ",
                                     request.proposer, parent.name, parent.author);
  solution.original = Json();
  solution.where = solution.name;
  return std::move(solution);
}

}  // namespace fib::agents
