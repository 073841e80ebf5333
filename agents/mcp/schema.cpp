#include "agents/mcp/schema.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "signatures/base/suggest.h"

namespace fib::mcp {

namespace {

std::string_view type_of(const Json& value) {
  if (value.is_number_integer()) return "integer";
  return value.type_name();
}

bool has_type(const Json& value, std::string_view type) {
  if (type == "number") return value.is_number();
  return type_of(value) == type;
}

std::string with_article(std::string_view type) {
  if (type == "null") return "null";
  const bool has_vowel = type.starts_with('a') || type.starts_with('i') || type.starts_with('o');
  return fmt::format("{} {}", has_vowel ? "an" : "a", type);
}

Failure refuse(const std::string& place, std::string message, std::string remedy = {}) {
  return fail(ErrorCode::kInvalidInput, std::move(message), place, std::move(remedy));
}

Result<void> check_type(const Json& types, const Json& value, const std::string& place) {
  std::vector<std::string> allowed;
  for (const Json& type : types) {
    if (has_type(value, type.get<std::string>())) return {};
    allowed.push_back(with_article(type.get<std::string>()));
  }
  return refuse(place, fmt::format("must be {}, not {}", fmt::join(allowed, " or "),
                                   with_article(type_of(value))));
}

Result<void> check_size(const Json& schema, std::string_view least, std::string_view most,
                        int64_t size, std::string_view unit, const std::string& place) {
  if (const auto bound = schema.find(least); bound != schema.end() && size < *bound) {
    return refuse(place, fmt::format("has {} {}, needs at least {}", size, unit, bound->dump()));
  }
  if (const auto bound = schema.find(most); bound != schema.end() && size > *bound) {
    return refuse(place, fmt::format("has {} {}, may have at most {}", size, unit, bound->dump()));
  }
  return {};
}

Result<void> check_number(const Json& schema, const Json& value, const std::string& place) {
  if (const auto bound = schema.find("minimum"); bound != schema.end() && value < *bound) {
    return refuse(place, fmt::format("is {}, must be at least {}", value.dump(), bound->dump()));
  }
  if (const auto bound = schema.find("maximum"); bound != schema.end() && value > *bound) {
    return refuse(place, fmt::format("is {}, must be at most {}", value.dump(), bound->dump()));
  }
  return {};
}

Result<void> check_object(const Json& schema, const Json& value, const std::string& place) {
  const Json properties = schema.value("properties", Json::object());
  for (const Json& name : schema.value("required", Json::array())) {
    if (!value.contains(name.get<std::string>())) {
      return refuse(place + "." + name.get<std::string>(), "is missing");
    }
  }
  const Json others = schema.value("additionalProperties", Json());
  for (const auto& [name, member] : value.items()) {
    const std::string member_place = place + "." + name;
    if (properties.contains(name)) {
      FIB_CHECK(check_against_schema(properties[name], member, member_place));
    } else if (others.is_object()) {
      FIB_CHECK(check_against_schema(others, member, member_place));
    } else if (others == false) {
      std::vector<std::string> names;
      for (const auto& item : properties.items()) names.push_back(item.key());
      const std::vector<std::string_view> known(names.begin(), names.end());
      const auto nearest = nearest_word(name, known);
      return refuse(member_place, "is not an argument of this tool",
                    nearest ? fmt::format("did you mean '{}'?", *nearest) : "");
    }
  }
  return check_size(schema, "minProperties", "maxProperties", static_cast<int64_t>(value.size()),
                    "members", place);
}

}  // namespace

Result<void> check_against_schema(const Json& schema, const Json& value, const std::string& place) {
  if (const auto types = schema.find("type"); types != schema.end()) {
    FIB_CHECK(check_type(types->is_array() ? *types : Json::array({*types}), value, place));
  }
  if (const auto choices = schema.find("enum"); choices != schema.end()) {
    if (std::find(choices->begin(), choices->end(), value) == choices->end()) {
      return refuse(place, fmt::format("is {}, must be one of {}", value.dump(), choices->dump()));
    }
  }
  if (value.is_string()) {
    return check_size(schema, "minLength", "maxLength",
                      static_cast<int64_t>(value.get_ref<const std::string&>().size()), "bytes",
                      place);
  }
  if (value.is_number()) return check_number(schema, value, place);
  if (value.is_object()) return check_object(schema, value, place);
  if (value.is_array() && schema.contains("items")) {
    for (size_t i = 0; i < value.size(); ++i) {
      FIB_CHECK(check_against_schema(schema["items"], value[i], fmt::format("{}[{}]", place, i)));
    }
  }
  return {};
}

Json object_schema(Json properties, std::vector<std::string> required) {
  Json schema{
      {"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

Json string_schema(std::string_view description) {
  return {{"type", "string"}, {"description", description}};
}

Json list_schema(Json items) { return {{"type", "array"}, {"items", std::move(items)}}; }

}  // namespace fib::mcp
