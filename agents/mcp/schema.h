#pragma once

// The part of JSON Schema that the tools' arguments are described by, and the check against it.

#include "signatures/base/json.h"

namespace fib::mcp {

// Knows: type, enum, properties, required, additionalProperties (a schema or false), items,
// minimum, maximum, minLength, maxLength, minProperties, maxProperties. The error names the field,
// as "arguments.files: must be an object, not a string".
Result<void> check_against_schema(const Json& schema, const Json& value, const std::string& place);

// An object schema whose members are all described; those in `required` must be there.
Json object_schema(Json properties, std::vector<std::string> required = {});
Json string_schema(std::string_view description);
Json list_schema(Json items);

}  // namespace fib::mcp
