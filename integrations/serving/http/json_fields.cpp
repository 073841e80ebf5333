#include "integrations/serving/http/json_fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "signatures/base/suggest.h"

namespace fib {
namespace {

std::string_view type_of(const Json& json) {
  if (json.is_null()) return "null";
  if (json.is_boolean()) return "a boolean";
  if (json.is_number_integer()) return "an integer";
  if (json.is_number()) return "a decimal";
  if (json.is_string()) return "a string";
  return json.is_array() ? "an array" : "an object";
}

template <class T>
ApiError out_of_range(std::string_view name, std::string_view kind, T value, T least, T most) {
  const bool is_below = value < least;
  return {.message = fmt::format("Invalid '{}': {} {} value. Expected a value {} {}, but got {} "
                                 "instead.",
                                 name, kind, is_below ? "below minimum" : "above maximum",
                                 is_below ? ">=" : "<=", is_below ? least : most, value),
          .param = std::string(name),
          .code = fmt::format("{}_{}_value", kind, is_below ? "below_min" : "above_max")};
}

}  // namespace

ApiError wrong_type(std::string_view name, std::string_view expected, const Json& json) {
  return {.message = fmt::format("Invalid type for '{}': expected {}, but got {} instead.", name,
                                 expected, type_of(json)),
          .param = std::string(name),
          .code = "invalid_type"};
}

ApiError invalid_value(std::string_view name, std::string_view message) {
  return {.message = fmt::format("Invalid '{}': {}", name, message),
          .param = std::string(name),
          .code = "invalid_value"};
}

ApiResult<int64_t> read_integer(const Json& json, std::string_view name, IntegerRange range) {
  if (!json.is_number_integer()) return fail(wrong_type(name, "an integer", json));
  // One above int64's range would come out negative.
  const int64_t value = json.is_number_unsigned() && json.get<uint64_t>() > INT64_MAX
                            ? INT64_MAX
                            : json.get<int64_t>();
  if (value < range.least || value > range.most)
    return fail(out_of_range<int64_t>(name, "integer", value, range.least, range.most));
  return value;
}

ApiResult<double> read_number(const Json& json, std::string_view name, NumberRange range) {
  if (!json.is_number()) return fail(wrong_type(name, "a decimal", json));
  const double value = json.get<double>();
  if (value < range.least || value > range.most)
    return fail(out_of_range<double>(name, "decimal", value, range.least, range.most));
  return value;
}

ApiResult<std::string> read_string(const Json& json, std::string_view name) {
  if (!json.is_string()) return fail(wrong_type(name, "a string", json));
  return json.get<std::string>();
}

ApiResult<JsonFields> JsonFields::of(const Json& json, std::string_view name, std::string prefix) {
  if (!json.is_object()) return fail(wrong_type(name, "an object", json));
  return JsonFields(json, std::move(prefix));
}

const Json* JsonFields::find(std::string_view name) const {
  const auto found = object_->find(std::string(name));
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

ApiResult<const Json*> JsonFields::required(std::string_view name) const {
  if (const Json* json = find(name)) return json;
  return fail(ApiError{.message = fmt::format("Missing required parameter: '{}'.", name_of(name)),
                       .param = name_of(name),
                       .code = "missing_required_parameter"});
}

ApiResult<std::optional<int64_t>> JsonFields::integer(std::string_view name,
                                                      IntegerRange range) const {
  const Json* json = find(name);
  if (!json) return std::nullopt;
  return FIB_TRY(read_integer(*json, name_of(name), range));
}

ApiResult<std::optional<double>> JsonFields::number(std::string_view name,
                                                    NumberRange range) const {
  const Json* json = find(name);
  if (!json) return std::nullopt;
  return FIB_TRY(read_number(*json, name_of(name), range));
}

ApiResult<std::optional<bool>> JsonFields::boolean(std::string_view name) const {
  const Json* json = find(name);
  if (!json) return std::nullopt;
  if (!json->is_boolean()) return fail(wrong_type(name_of(name), "a boolean", *json));
  return json->get<bool>();
}

ApiResult<std::optional<std::string>> JsonFields::string(std::string_view name) const {
  const Json* json = find(name);
  if (!json) return std::nullopt;
  return FIB_TRY(read_string(*json, name_of(name)));
}

ApiResult<void> JsonFields::check_known(std::span<const std::string_view> known,
                                        std::span<const Unsupported> unsupported) const {
  for (const auto& [name, value] : object_->items()) {
    if (std::ranges::find(known, name) != known.end()) continue;
    const auto found = std::ranges::find(unsupported, name, &Unsupported::name);
    if (found != unsupported.end()) {
      if (value.is_null() || value == found->harmless) continue;
      return fail(ApiError{
          .message = fmt::format("Unsupported parameter: '{}' is not supported by this server.",
                                 name_of(name)),
          .param = name_of(name),
          .code = "unsupported_parameter"});
    }
    const auto nearest = nearest_word(name, known);
    return fail(ApiError{
        .message = fmt::format("Unknown parameter: '{}'.{}", name_of(name),
                               nearest ? fmt::format(" Did you mean '{}'?", *nearest) : ""),
        .param = name_of(name),
        .code = "unknown_parameter"});
  }
  return {};
}

}  // namespace fib
