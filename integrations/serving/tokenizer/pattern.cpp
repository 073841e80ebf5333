#include "integrations/serving/tokenizer/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <fmt/format.h>
#include <pcre2.h>

#include <array>
#include <new>

#include "signatures/base/utf8.h"

namespace fib {
namespace {

// Steps of one match. The patterns of today's models need a few per byte; a million spaces pass.
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr size_t kSmallestStack = 32 << 10, kLargestStack = 8 << 20;  // bytes

struct CodeDeleter {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
};
struct MatchDataDeleter {
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
};
struct MatchContextDeleter {
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
};
struct StackDeleter {
  void operator()(pcre2_jit_stack* stack) const { pcre2_jit_stack_free(stack); }
};

std::string message_of(int error) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(error, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

PCRE2_SPTR code_units(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

struct Pattern::Code {
  std::unique_ptr<pcre2_code, CodeDeleter> handle;
};

Pattern::Pattern(std::unique_ptr<const Code> code) : code_(std::move(code)) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern& Pattern::operator=(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

Result<Pattern> Pattern::compile(std::string_view expression, Syntax syntax) {
  // \K inside a lookaround, which could move a match backwards, is refused by default.
  const uint32_t options =
      syntax == Syntax::kLiteral ? PCRE2_UTF | PCRE2_LITERAL : PCRE2_UTF | PCRE2_UCP;
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_unique<Code>();
  code->handle.reset(
      pcre2_compile(code_units(expression), expression.size(), options, &error, &offset, nullptr));
  if (!code->handle)
    return fail(ErrorCode::kInvalidInput,
                fmt::format("cannot compile the pattern '{}': {} at byte {}", expression,
                            message_of(error), offset));
  // Where a process may not make code, the interpreter does the same more slowly.
  pcre2_jit_compile(code->handle.get(), PCRE2_JIT_COMPLETE);
  return Pattern(std::move(code));
}

struct Pattern::Matcher::State {
  const pcre2_code* code;
  std::unique_ptr<pcre2_match_data, MatchDataDeleter> data;
  std::unique_ptr<pcre2_match_context, MatchContextDeleter> context;
  std::unique_ptr<pcre2_jit_stack, StackDeleter> stack;
};

Pattern::Matcher::Matcher(const Pattern& pattern) {
  const pcre2_code* code = pattern.code_->handle.get();
  auto state = std::make_unique<State>();
  state->code = code;
  state->data.reset(pcre2_match_data_create_from_pattern(code, nullptr));
  state->context.reset(pcre2_match_context_create(nullptr));
  state->stack.reset(pcre2_jit_stack_create(kSmallestStack, kLargestStack, nullptr));
  if (!state->data || !state->context || !state->stack) throw std::bad_alloc();
  pcre2_set_match_limit(state->context.get(), kMatchLimit);
  pcre2_jit_stack_assign(state->context.get(), nullptr, state->stack.get());
  state_ = std::move(state);
}
Pattern::Matcher::Matcher(Matcher&&) noexcept = default;
Pattern::Matcher& Pattern::Matcher::operator=(Matcher&&) noexcept = default;
Pattern::Matcher::~Matcher() = default;

Result<std::vector<TextRange>> Pattern::Matcher::find_all(std::string_view text) const {
  const PCRE2_SIZE* found = pcre2_get_ovector_pointer(state_->data.get());
  std::vector<TextRange> ranges;
  size_t at = 0;
  while (at <= text.size()) {
    const int status = pcre2_match(state_->code, code_units(text), text.size(), at, PCRE2_NO_UTF_CHECK,
                                   state_->data.get(), state_->context.get());
    if (status == PCRE2_ERROR_NOMATCH) break;
    if (status < 0)
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("the text cannot be cut into words from byte {} on: {}", at,
                              message_of(status)));
    const TextRange range{found[0], found[1]};
    if (range.begin == range.end && !ranges.empty() && range.end == ranges.back().end) {
      at += at < text.size() ? utf8_length(text.substr(at)) : 1;
      continue;
    }
    ranges.push_back(range);
    at = range.end;
  }
  return ranges;
}

}  // namespace fib
