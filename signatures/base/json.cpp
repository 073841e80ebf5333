#include "signatures/base/json.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "signatures/base/suggest.h"

namespace fib {
namespace {

std::string escape_pointer_token(std::string_view key) {
  std::string token;
  for (char c : key) {
    if (c == '~') {
      token += "~0";
    } else if (c == '/') {
      token += "~1";
    } else {
      token += c;
    }
  }
  return token;
}

// What stands there, for "expected a string, found ...": scalars are shown, containers named.
std::string describe(const Json& value) {
  switch (value.type()) {
    case Json::value_t::object: return "an object";
    case Json::value_t::array: return "an array";
    case Json::value_t::null: return "null";
    default: break;
  }
  constexpr size_t kShown = 60;
  std::string text = dump_json(value);
  if (text.size() > kShown) return value.is_string() ? "a long string" : "a long number";
  return text;
}

}  // namespace

JsonView::JsonView(const Json& value, std::string where, std::string pointer)
    : value_(&value), where_(std::move(where)), pointer_(std::move(pointer)) {}

std::string JsonView::location() const {
  if (pointer_.empty()) return where_;
  return where_.empty() ? pointer_ : where_ + ": " + pointer_;
}

Failure JsonView::error(std::string message, std::string remedy) const {
  return fail(ErrorCode::kInvalidInput, std::move(message), location(), std::move(remedy));
}

Result<std::string> JsonView::string() const {
  if (!value_->is_string())
    return error(fmt::format("expected a string, found {}", describe(*value_)));
  return value_->get_ref<const std::string&>();
}

Result<std::string> JsonView::non_empty_string() const {
  std::string text = FIB_TRY(string());
  if (text.empty()) return error("the string must not be empty");
  return text;
}

Result<int64_t> JsonView::integer() const {
  const auto refuse = [&](std::string_view expected) {
    return error(fmt::format("expected {}, found {}", expected, describe(*value_)));
  };
  constexpr auto kLargest = std::numeric_limits<int64_t>::max();
  if (value_->is_number_unsigned()) {
    const uint64_t value = value_->get<uint64_t>();
    if (value > static_cast<uint64_t>(kLargest)) return refuse("an integer of 64 bits");
    return static_cast<int64_t>(value);
  }
  if (value_->is_number_integer()) return value_->get<int64_t>();
  if (!value_->is_number_float()) return refuse("an integer");
  const double value = value_->get<double>();
  if (value != std::floor(value)) return refuse("an integer");
  if (value < -0x1p63 || value >= 0x1p63) return refuse("an integer of 64 bits");
  return static_cast<int64_t>(value);
}

Result<double> JsonView::number() const {
  if (value_->is_number()) return value_->get<double>();
  if (value_->is_string()) {
    const std::string& text = value_->get_ref<const std::string&>();
    if (text == "Infinity") return std::numeric_limits<double>::infinity();
    if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
    if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  }
  return error(fmt::format("expected a number, found {}", describe(*value_)));
}

Result<bool> JsonView::boolean() const {
  if (!value_->is_boolean())
    return error(fmt::format("expected true or false, found {}", describe(*value_)));
  return value_->get<bool>();
}

Result<std::vector<JsonView>> JsonView::array() const {
  if (!value_->is_array())
    return error(fmt::format("expected an array, found {}", describe(*value_)));
  std::vector<JsonView> elements;
  elements.reserve(value_->size());
  for (const Json& element : *value_)
    elements.emplace_back(element, where_, fmt::format("{}/{}", pointer_, elements.size()));
  return elements;
}

Result<std::vector<std::string>> JsonView::strings() const {
  std::vector<std::string> texts;
  for (const JsonView& element : FIB_TRY(array())) texts.push_back(FIB_TRY(element.string()));
  return texts;
}

Result<std::vector<std::pair<std::string, JsonView>>> JsonView::object() const {
  if (!value_->is_object())
    return error(fmt::format("expected an object, found {}", describe(*value_)));
  std::vector<std::pair<std::string, JsonView>> members;
  members.reserve(value_->size());
  for (const auto& [key, member] : value_->get_ref<const Json::object_t&>())
    members.emplace_back(key, JsonView(member, where_, pointer_ + "/" + escape_pointer_token(key)));
  return members;
}

Result<JsonView> JsonView::at(std::string_view key) const {
  if (!value_->is_object())
    return error(fmt::format("expected an object with '{}', found {}", key, describe(*value_)));
  for (const auto& [name, member] : value_->get_ref<const Json::object_t&>())
    if (name == key) return JsonView(member, where_, pointer_ + "/" + escape_pointer_token(key));
  return error(fmt::format("'{}' is missing", key));
}

std::optional<JsonView> JsonView::find(std::string_view key) const {
  if (!value_->is_object()) return std::nullopt;
  Result<JsonView> member = at(key);
  if (!member || member->json().is_null()) return std::nullopt;
  return *std::move(member);
}

bool JsonView::contains(std::string_view key) const {
  if (!value_->is_object()) return false;
  const auto& object = value_->get_ref<const Json::object_t&>();
  return std::ranges::any_of(object, [&](const auto& member) { return member.first == key; });
}

Result<void> JsonView::only_keys(std::initializer_list<std::string_view> keys) const {
  for (const auto& [key, member] : FIB_TRY(object())) {
    if (std::ranges::find(keys, key) != keys.end()) continue;
    const auto nearest = nearest_word(key, std::span(keys.begin(), keys.size()));
    return member.error(fmt::format("unknown key '{}'", key),
                        nearest ? fmt::format("did you mean '{}'?", *nearest)
                                : fmt::format("known here: {}", fmt::join(keys, ", ")));
  }
  return {};
}

}  // namespace fib
