#include "agents/proposers/mutate/changes.h"

#include <fmt/format.h>

#include <algorithm>

namespace fib::agents {
namespace {

// Blank lines at the end make no difference, and would make a "new" solution.
std::string_view trimmed(std::string_view text) {
  const size_t end = text.find_last_not_of(" \t\r\n");
  return text.substr(0, end == std::string_view::npos ? 0 : end + 1);
}

const std::string* content_of(const Solution& solution, const std::string& path) {
  for (const SourceFile& source : solution.sources) {
    if (source.path == path) return &source.content;
  }
  return nullptr;
}

const SourceBlock* find_block(const std::vector<SourceBlock>& blocks, const std::string& name) {
  const auto found = std::find_if(blocks.begin(), blocks.end(),
                                  [&](const SourceBlock& block) { return block.name == name; });
  return found == blocks.end() ? nullptr : &*found;
}

void add_alternatives(const Solution& parent, const DesignSpace& space,
                      const std::vector<SourceBlock>& blocks, std::vector<Change>* changes) {
  for (const Variation& variation : space.variations) {
    const SourceBlock* const block = find_block(blocks, variation.name);
    if (!block) continue;
    for (const Alternative& alternative : variation.alternatives) {
      const std::string* const text = content_of(parent, alternative.file);
      if (!text || trimmed(*text) == trimmed(block->text)) continue;
      changes->push_back({BlockChange{variation.name, *text},
                          fmt::format("{}: {}", variation.name, alternative.name)});
    }
  }
}

void add_blocks_of(const Ancestor& other, const std::vector<SourceBlock>& blocks,
                   std::vector<Change>* changes) {
  const auto lent = source_blocks(other.solution);
  if (!lent) return;
  for (const SourceBlock& theirs : *lent) {
    const SourceBlock* const block = find_block(blocks, theirs.name);
    if (!block || trimmed(theirs.text) == trimmed(block->text)) continue;
    changes->push_back({BlockChange{theirs.name, theirs.text},
                        fmt::format("{} as in {}", theirs.name, other.record.number),
                        other.record.number});
  }
}

// Values of the tunables that both declare, where they differ and the parent knows the value: each
// by itself, and all at once, since tunables that were found together often belong together.
void add_values_of(const Ancestor& other, const DesignSpace& space, const Configuration& current,
                   std::vector<Change>* changes) {
  const auto their_space = design_space_of(other.solution);
  if (!their_space) return;
  const auto theirs = configuration_of(other.solution, *their_space);
  if (!theirs) return;
  ValueChange all;
  std::string words;
  for (size_t i = 0; i < space.tunables.size(); ++i) {
    const Tunable& tunable = space.tunables[i];
    for (size_t j = 0; j < their_space->tunables.size(); ++j) {
      const int64_t value = (*theirs)[j];
      if (their_space->tunables[j].name != tunable.name || value == current[i]) continue;
      if (std::find(tunable.values.begin(), tunable.values.end(), value) == tunable.values.end()) {
        continue;
      }
      const std::string word = fmt::format("{} {} -> {}", tunable.name, current[i], value);
      changes->push_back({ValueChange{{{i, value}}},
                          fmt::format("{} as in {}", word, other.record.number),
                          other.record.number});
      all.values.emplace_back(i, value);
      words += (words.empty() ? "" : ", ") + word;
    }
  }
  if (all.values.size() < 2) return;
  changes->push_back({std::move(all), fmt::format("{} as in {}", words, other.record.number),
                      other.record.number});
}

}  // namespace

Result<Changes> changes_of(const Ancestor& parent, const DesignSpace& space,
                           const std::vector<Ancestor>& others) {
  const auto blocks = FIB_TRY(source_blocks(parent.solution));
  const Configuration current = FIB_TRY(configuration_of(parent.solution, space));
  Changes changes;
  add_alternatives(parent.solution, space, blocks, &changes.alternatives);
  for (const Ancestor& other : others) {
    add_blocks_of(other, blocks, &changes.blocks);
    add_values_of(other, space, current, &changes.values);
  }
  return changes;
}

}  // namespace fib::agents
