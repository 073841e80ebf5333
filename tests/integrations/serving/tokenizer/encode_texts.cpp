// Encodes a JSON list of texts for compare_with_hugging_face.py, and checks that decoding and
// streaming agree: encode_texts FOLDER TEXTS.json parse|text > ids.json

#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "integrations/serving/tokenizer/tokenizer.h"
#include "signatures/base/json.h"

namespace fib {
namespace {

Result<Json> encode_texts(const char* folder, const char* file, std::string_view mode) {
  const Tokenizer tokenizer = FIB_TRY(Tokenizer::open(folder));
  const Json texts = FIB_TRY(read_json_file(file));
  const auto special =
      mode == "parse" ? Tokenizer::SpecialTokens::kParse : Tokenizer::SpecialTokens::kAsText;
  Json all = Json::array();
  for (const Json& text : texts) {
    const auto tokens = FIB_TRY(tokenizer.encode(text.get<std::string>(), special));
    TextStream stream(tokenizer);
    std::string streamed;
    for (const TokenId token : tokens) streamed += stream.push(token);
    streamed += stream.finish();
    if (streamed != tokenizer.decode(tokens))
      return fail(ErrorCode::kInvalidInput, "streamed and decoded text differ: " + streamed);
    all.push_back(tokens);
  }
  return all;
}

}  // namespace
}  // namespace fib

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto ids = fib::encode_texts(argv[1], argv[2], argv[3]);
  if (!ids) {
    fmt::print(stderr, "{}\n", ids.error().to_string());
    return 1;
  }
  fmt::print("{}", fib::dump_json(*ids));
}
