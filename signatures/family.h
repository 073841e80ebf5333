#pragma once

// A family file describes many signatures that differ only in const axes: one template, a naming
// pattern and the list of instances. Expanded, each instance is an ordinary Definition.

#include <filesystem>
#include <string>
#include <vector>

#include "signatures/signature.h"

namespace fib {

// signatures/definitions/<op_type>/<family>.json:
// { "family": "rmsnorm", "name": "rmsnorm_h{hidden_size}", "template": {<Definition without name>},
//   "instances": [ {"axes": {"hidden_size": 4096}, "parameters": {"eps": 1e-5},
//                   "description": "...", "tags": ["model:llama-3.1-8b"]}, ... ] }
// `{axis}` in "name", "description" and "reference" is replaced by the axis value, `{parameter}` by
// the parameter. A const axis takes its value from the instance, or from the template as a number or
// an expression over const axes above it ("2 * intermediate_size"). "reference" is a list of lines.
// An instance's "description" is appended to the template's. Read strictly.
Result<std::vector<Signature>> read_family(const std::filesystem::path& file);

// True if `name` could be an instance's: a number stands wherever `pattern` has `{axis}`.
bool fits_pattern(std::string_view pattern, std::string_view name);

// One instance of a family with axes that no listed instance has (`fib signature show
// rmsnorm_h1234` works for any h): parses `name` against the family's pattern.
Result<Signature> instantiate_by_name(const std::filesystem::path& file, std::string_view name);

}  // namespace fib
