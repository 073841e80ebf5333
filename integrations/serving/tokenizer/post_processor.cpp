#include "integrations/serving/tokenizer/post_processor.h"

#include <fmt/format.h>

#include <optional>

namespace fib {
namespace {

// A template of one text is a list of {"SpecialToken": {"id": name}} around a {"Sequence": ...}.
Result<PostProcessor> read_template(const JsonView& view) {
  PostProcessor made;
  bool is_after_text = false;
  const JsonView tokens = FIB_TRY(view.at("special_tokens"));
  const JsonView single = FIB_TRY(view.at("single"));
  for (const JsonView& part : FIB_TRY(single.array())) {
    if (part.contains("Sequence")) {
      if (is_after_text) return part.error("the text appears twice in the template");
      is_after_text = true;
      continue;
    }
    const JsonView special = FIB_TRY(part.at("SpecialToken"));
    const JsonView name = FIB_TRY(special.at("id"));
    const JsonView token = FIB_TRY(tokens.at(FIB_TRY(name.string())));
    const JsonView ids = FIB_TRY(token.at("ids"));
    for (const JsonView& id : FIB_TRY(ids.array()))
      (is_after_text ? made.after : made.before)
          .push_back(static_cast<TokenId>(FIB_TRY(id.integer())));
  }
  if (!is_after_text) return single.error("the text is missing in the template");
  return made;
}

}  // namespace

Result<PostProcessor> PostProcessor::read(const JsonView& view) {
  const JsonView type = FIB_TRY(view.at("type"));
  const std::string name = FIB_TRY(type.string());
  if (name == "ByteLevel") return PostProcessor{};
  if (name == "TemplateProcessing") return read_template(view);
  if (name != "Sequence")
    return fail(ErrorCode::kUnsupported, fmt::format("post-processor '{}'", name), type.location(),
                "known are ByteLevel, TemplateProcessing and Sequence");
  PostProcessor made;
  const JsonView list = FIB_TRY(view.at("processors"));
  for (const JsonView& step : FIB_TRY(list.array())) {
    const PostProcessor one = FIB_TRY(read(step));
    made.before.insert(made.before.begin(), one.before.begin(), one.before.end());
    made.after.insert(made.after.end(), one.after.begin(), one.after.end());
  }
  return made;
}

}  // namespace fib
