#include "integrations/serving/tokenizer/normalizer.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

namespace fib {
namespace {

// Marks on one character are put in order by insertion, which takes the square of their number.
constexpr int kMostMarks = 1000;

struct Form {
  std::string_view name;
  int options;
};
constexpr Form kForms[] = {
    {"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
    {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
    {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
    {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
};

const utf8proc_uint8_t* units(std::string_view text) {
  return reinterpret_cast<const utf8proc_uint8_t*>(text.data());
}

Result<void> check_marks(std::string_view text) {
  int marks = 0;
  for (std::string_view rest = text; !rest.empty();) {
    utf8proc_int32_t character = 0;
    const auto length =
        utf8proc_iterate(units(rest), static_cast<utf8proc_ssize_t>(rest.size()), &character);
    rest.remove_prefix(static_cast<size_t>(length));
    marks = utf8proc_get_property(character)->combining_class == 0 ? 0 : marks + 1;
    if (marks > kMostMarks)
      return fail(ErrorCode::kInvalidInput,
                  fmt::format("more than {} combining marks on one character, at byte {}",
                              kMostMarks, text.size() - rest.size()));
  }
  return {};
}

struct Free {
  void operator()(utf8proc_uint8_t* text) const { std::free(text); }
};

std::string normalise(std::string_view text, int options) {
  utf8proc_uint8_t* mapped = nullptr;
  const auto length = utf8proc_map(units(text), static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                                   static_cast<utf8proc_option_t>(options));
  const std::unique_ptr<utf8proc_uint8_t, Free> owner(mapped);
  if (length < 0) throw std::bad_alloc();  // of valid UTF-8, nothing else can fail
  return {reinterpret_cast<const char*>(mapped), static_cast<size_t>(length)};
}

}  // namespace

Result<Normalizer> Normalizer::read(const JsonView& view) {
  Normalizer normalizer;
  const JsonView type = FIB_TRY(view.at("type"));
  const std::string name = FIB_TRY(type.string());
  if (name == "Sequence") {
    const JsonView list = FIB_TRY(view.at("normalizers"));
    for (const JsonView& step : FIB_TRY(list.array())) {
      const Normalizer one = FIB_TRY(read(step));
      normalizer.forms_.insert(normalizer.forms_.end(), one.forms_.begin(), one.forms_.end());
    }
    return normalizer;
  }
  const auto* form = std::ranges::find(kForms, name, &Form::name);
  if (form == std::end(kForms))
    return fail(ErrorCode::kUnsupported, fmt::format("normalizer '{}'", name), type.location(),
                "byte-level tokenizers normalise by NFC, NFD, NFKC or NFKD, if at all");
  normalizer.forms_.push_back(form->options);
  return normalizer;
}

Result<std::string> Normalizer::apply(std::string_view text) const {
  std::string normal(text);
  const bool is_ascii =
      std::ranges::all_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (is_ascii || forms_.empty()) return normal;  // ASCII is in every normal form
  FIB_CHECK(check_marks(text));
  for (const int options : forms_) normal = normalise(normal, options);
  return normal;
}

}  // namespace fib
