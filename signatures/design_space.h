#pragma once

// What a solution's author declares as open: numbers to tune and blocks to exchange. Part of the
// manifest (signatures/solution_folder.h), read strictly; docs/tunables.md tells how to design one.
//
//   "tunables": {
//     "TILE": {"values": [32, 64, 128], "initial": 64, "about": "tokens a block works on"},
//     "STAGES": {"values": [2, 3, 4], "initial": 3}
//   },
//   "constraints": ["TILE * STAGES <= 384", "hidden_size % TILE == 0"],
//   "variations": {
//     "dot": {
//       "about": "the inner product",
//       "alternatives": {"scalar": "variations/dot_scalar.inc", "lanes":
//       "variations/dot_lanes.inc"}
//     }
//   }
//
// A tunable is a macro: the sources have `#ifndef TILE`, `#define TILE 64`, `#endif`, and a
// configuration is the manifest's flags `-DTILE=128`. A variation is a block of a source between
// the lines `// fib:block dot` and `// fib:end dot`; an alternative is a file among the sources
// that may take the block's place. Constraints speak of tunables and the signature's const axes in
// the language of signatures/expression.h.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "signatures/expression.h"
#include "signatures/signature.h"
#include "signatures/trace.h"

namespace fib {

struct Tunable {
  std::string name;             // a macro: [A-Z][A-Z0-9_]*
  std::vector<int64_t> values;  // at least one, each once; neighbours are taken to behave alike
  int64_t initial = 0;          // one of them: what the sources have without a flag
  std::string about;
};

struct Alternative {
  std::string name;
  std::string file;  // among the solution's sources
};

struct Variation {
  std::string name;
  std::string about;
  std::vector<Alternative> alternatives;  // at least one
};

struct DesignSpace {
  std::vector<Tunable> tunables;
  std::vector<Expression> constraints;
  std::vector<Variation> variations;

  bool empty() const { return tunables.empty() && variations.empty(); }
};

// The fields `tunables`, `constraints` and `variations` of a document, as far as they can be
// checked by themselves; `sources` are the paths that alternatives may name.
Result<DesignSpace> read_design_space(const JsonView& document,
                                      const std::vector<std::string>& sources);
// Sets the fields that aren't empty.
void write_design_space(const DesignSpace& space, Json& document);

// Empty where the manifest declares nothing. Errors name the field: an initial value that isn't
// among the values or isn't the sources', a block that no source has, a constraint that speaks of
// no tunable, a flag that sets a tunable to none of its values.
Result<DesignSpace> design_space_of(const Solution& solution);

// A value for each tunable, in the space's order.
using Configuration = std::vector<int64_t>;

// What the solution is set to: its flags, else the initial values.
Result<Configuration> configuration_of(const Solution& solution, const DesignSpace& space);

// Every name in the constraints is a tunable or a const axis of the signature.
Result<void> check_constraints(const DesignSpace& space, const Signature& signature);

// Whether the constraints hold for the signature's const axes.
Result<bool> admits(const DesignSpace& space, const Configuration& configuration,
                    const Signature& signature);

// The same solution set otherwise: only the flags of tunables change, so its key does. Initial
// values need no flag, so each configuration has one key, whatever the solution was set to before.
Result<Solution> with_configuration(const Solution& solution, const DesignSpace& space,
                                    const Configuration& configuration);

// A block of a source: the lines between its two marks.
struct SourceBlock {
  std::string name;
  std::string file;
  std::string text;  // without the marks
};
// All blocks, declared as a variation or not. Error: a mark without its partner, a name twice.
Result<std::vector<SourceBlock>> source_blocks(const Solution& solution);
// The same solution with other text between the marks. Error: no such block, text with marks in it.
Result<Solution> with_block(const Solution& solution, std::string_view name, std::string_view text);

}  // namespace fib
