#pragma once

// What the readers and writers of the format's documents share. Private to signatures/.

#include <string>
#include <string_view>
#include <vector>

#include "signatures/base/json.h"
#include "signatures/trace.h"

namespace fib {

// [A-Za-z_][A-Za-z0-9_]*: axes and tensors are arguments of `run` and names of macros.
bool is_identifier(std::string_view name);

// Names that become file names: letters, digits and "._+-", not starting with a dot.
bool is_plain_name(std::string_view name);

// `rendered` (an object) laid over the object it was read from: the original's key order and its
// unknown keys stay, known keys take the rendered value. Known keys that aren't rendered keep an
// original null and vanish otherwise.
Json overlay(const Json& original, const Json& rendered,
             const std::vector<std::string_view>& known_keys);

// The member of `object` named `key`, or null.
const Json& member(const Json& object, std::string_view key);

// workload_from_json for a workload that is part of another document.
Result<Workload> read_workload(const JsonView& view, Strictness strictness);

// "did you mean 'x'?" for the word of `known` nearest to `word`, or `otherwise` where none is near.
std::string did_you_mean(std::string_view word, const std::vector<std::string>& known,
                         std::string otherwise);

}  // namespace fib
