#include "agents/proposers/llm/prompt.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <stdexcept>

#include "agents/text.h"
#include "signatures/base/file.h"

namespace fib::agents {

namespace {

constexpr std::string_view kOpen = "{{", kClose = "}}";

const std::vector<std::string_view> kSystemNames = {"target_rules"};
const std::vector<std::string_view> kRepairNames = {"complaint"};
const std::vector<std::string_view> kProposeNames = {
    "signature",      "op_type",      "description", "contract",     "reference",
    "hardware",       "architecture", "parent_name", "parent_files", "headers",
    "parent_outcome", "tried",        "others",      "direction",    "parent_feedback"};

Result<PromptTemplate> read_template(const std::filesystem::path& file,
                                     const std::vector<std::string_view>& names) {
  return PromptTemplate::parse(FIB_TRY(read_file(file)), file, names);
}

Result<std::vector<std::string>> read_directions(const std::filesystem::path& file) {
  constexpr std::string_view kItem = "- ";
  const std::string text = FIB_TRY(read_file(file));
  std::vector<std::string> directions;
  for (const std::string_view line : lines_of(text)) {
    if (line.starts_with(kItem)) directions.emplace_back(line.substr(kItem.size()));
  }
  if (directions.empty()) {
    return fail(ErrorCode::kInvalidInput, "has no line that begins with '- '", file.string());
  }
  return directions;
}

}  // namespace

Result<PromptTemplate> PromptTemplate::parse(std::string_view text,
                                             const std::filesystem::path& file,
                                             const std::vector<std::string_view>& names) {
  PromptTemplate result;
  size_t next = 0;
  while (next < text.size()) {
    const size_t open = text.find(kOpen, next);
    if (open == std::string_view::npos) break;
    const auto place = [&] {
      return fmt::format(
          "{}:{}", file.string(),
          1 + std::count(text.begin(), text.begin() + static_cast<long>(open), '\n'));
    };
    const size_t close = text.find(kClose, open);
    if (close == std::string_view::npos) {
      return fail(ErrorCode::kInvalidInput, "a placeholder has no end", place(), "{{name}}");
    }
    const std::string_view name = text.substr(open + kOpen.size(), close - open - kOpen.size());
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      return fail(ErrorCode::kInvalidInput, fmt::format("no placeholder is named '{}'", name),
                  place(), fmt::format("there are {}", fmt::join(names, ", ")));
    }
    result.pieces_.push_back({std::string(text.substr(next, open - next)), std::string(name)});
    next = close + kClose.size();
  }
  result.pieces_.push_back({std::string(text.substr(next)), {}});
  return result;
}

std::string PromptTemplate::render(const PromptValues& values) const {
  std::string text;
  for (const Piece& piece : pieces_) {
    text += piece.text;
    if (piece.name.empty()) continue;
    const auto value = std::find_if(values.begin(), values.end(),
                                    [&](const auto& entry) { return entry.first == piece.name; });
    if (value == values.end()) throw std::logic_error("a prompt's placeholder has no value");
    // The file around it has the line ends.
    text.append(value->second, 0, value->second.find_last_not_of('\n') + 1);
  }
  return text;
}

Result<Prompts> read_prompts(const std::filesystem::path& folder) {
  Prompts prompts;
  prompts.target_cpu = FIB_TRY(read_file(folder / "target-cpu.md"));
  prompts.target_cuda = FIB_TRY(read_file(folder / "target-cuda.md"));
  prompts.system = FIB_TRY(read_template(folder / "system.md", kSystemNames));
  prompts.propose = FIB_TRY(read_template(folder / "propose.md", kProposeNames));
  prompts.repair = FIB_TRY(read_template(folder / "repair.md", kRepairNames));
  prompts.directions = FIB_TRY(read_directions(folder / "directions.md"));
  return prompts;
}

}  // namespace fib::agents
