#include "signatures/document.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "signatures/ascii.h"
#include "signatures/base/suggest.h"

namespace fib {
namespace {

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
}  // namespace

bool is_identifier(std::string_view name) {
  if (name.empty() || is_digit(name[0])) return false;
  return std::all_of(name.begin(), name.end(),
                     [](char c) { return is_letter(c) || is_digit(c) || c == '_'; });
}

bool is_plain_name(std::string_view name) {
  if (name.empty() || name[0] == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return is_letter(c) || is_digit(c) || c == '_' || c == '.' || c == '-' || c == '+';
  });
}

Json overlay(const Json& original, const Json& rendered,
             const std::vector<std::string_view>& known_keys) {
  if (!original.is_object()) return rendered;
  Json result = Json::object();
  for (const auto& [key, value] : original.items()) {
    const bool is_known =
        std::find(known_keys.begin(), known_keys.end(), key) != known_keys.end();
    if (const auto it = rendered.find(key); it != rendered.end()) {
      result[key] = *it;
    } else if (!is_known || value.is_null()) {
      result[key] = value;
    }
  }
  for (const auto& [key, value] : rendered.items()) {
    if (!result.contains(key)) result[key] = value;
  }
  return result;
}

const Json& member(const Json& object, std::string_view key) {
  static const Json kNull;
  if (!object.is_object()) return kNull;
  const auto it = object.find(key);
  return it == object.end() ? kNull : *it;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& known,
                         std::string otherwise) {
  const std::vector<std::string_view> candidates(known.begin(), known.end());
  const auto nearest = nearest_word(word, candidates);
  return nearest ? fmt::format("did you mean '{}'?", *nearest) : std::move(otherwise);
}

}  // namespace fib
