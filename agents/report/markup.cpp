#include "agents/report/markup.h"

#include <array>
#include <utility>

#include "signatures/base/utf8.h"

namespace fib::agents {

namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kKnownProposers = {{
    {"seed", "#7d8590"},
    {"tune", "#2f7ed8"},
    {"mutate", "#d9730d"},
    {"llm", "#a45bd6"},
    {"exec", "#0f9d76"},
}};
// Of proposers that came later than this list.
constexpr std::array<std::string_view, 3> kOthers = {"#c9408a", "#8a8d00", "#c4402f"};

bool is_allowed(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || byte == '\n' || byte == '\r' || (byte >= 0x20 && byte != 0x7f);
}

}  // namespace

std::string escape_markup(std::string_view text) {
  std::string escaped;
  escaped.reserve(text.size() + text.size() / 8);
  while (!text.empty()) {
    const size_t length = utf8_length(text);
    if (length > 1) {
      escaped += text.substr(0, length);
      text.remove_prefix(length);
      continue;
    }
    switch (const char c = text.front()) {
      case '&': escaped += "&amp;"; break;
      case '<': escaped += "&lt;"; break;
      case '>': escaped += "&gt;"; break;
      case '"': escaped += "&quot;"; break;
      case '\'': escaped += "&#39;"; break;
      default:
        if (length == 1 && is_allowed(c)) {
          escaped += c;
        } else {
          escaped += kReplacementCharacter;
        }
    }
    text.remove_prefix(1);
  }
  return escaped;
}

std::string_view proposer_colour(std::string_view proposer) {
  for (const auto& [name, colour] : kKnownProposers) {
    if (name == proposer) return colour;
  }
  size_t sum = 0;
  for (const char c : proposer) sum += static_cast<unsigned char>(c);
  return kOthers[sum % kOthers.size()];
}

}  // namespace fib::agents
