// What is refused at opening, with the place in the file.

#include <gtest/gtest.h>

#include <functional>

#include "tests/integrations/serving/tokenizer/tiny_tokenizer.h"

namespace fib {
namespace {

struct BadCase {
  std::string name;
  std::function<void(Json&)> spoil;
  ErrorCode code;
  std::string place;    // JSON pointer
  std::string message;  // a part of it
};

const BadCase kCases[] = {
    {"word_piece", [](Json& j) { j["model"]["type"] = "WordPiece"; }, ErrorCode::kUnsupported,
     "/model/type", "WordPiece"},
    {"byte_fallback", [](Json& j) { j["model"]["byte_fallback"] = true; }, ErrorCode::kUnsupported,
     "/model/byte_fallback", "SentencePiece"},
    {"suffix", [](Json& j) { j["model"]["end_of_word_suffix"] = "</w>"; }, ErrorCode::kUnsupported,
     "/model/end_of_word_suffix", "end_of_word_suffix"},
    {"dropout", [](Json& j) { j["model"]["dropout"] = 0.1; }, ErrorCode::kUnsupported,
     "/model/dropout", "random"},
    {"no_model", [](Json& j) { j.erase("model"); }, ErrorCode::kInvalidInput, "", "'model'"},
    {"no_vocabulary", [](Json& j) { j["model"].erase("vocab"); }, ErrorCode::kInvalidInput,
     "/model", "'vocab'"},
    {"id_twice", [](Json& j) { j["model"]["vocab"]["new"] = 65; }, ErrorCode::kInvalidInput,
     "/model/vocab/new", "token 65 is 'A' and 'new'"},
    {"negative_id", [](Json& j) { j["model"]["vocab"]["new"] = -1; }, ErrorCode::kInvalidInput,
     "/model/vocab/new", "-1"},
    {"huge_id", [](Json& j) { j["model"]["vocab"]["new"] = 1LL << 40; }, ErrorCode::kInvalidInput,
     "/model/vocab/new", "1099511627776"},
    {"text_id", [](Json& j) { j["model"]["vocab"]["new"] = "7"; }, ErrorCode::kInvalidInput,
     "/model/vocab/new", "integer"},
    {"merge_of_strangers", [](Json& j) { j["model"]["merges"].push_back("a b"); },
     ErrorCode::kInvalidInput, "/model/merges/6", "'ab' is not in the vocabulary"},
    {"merge_of_three",
     [](Json& j) {
       j["model"]["merges"].push_back({"a", "b", "c"});
     },
     ErrorCode::kInvalidInput, "/model/merges/6", "pair"},
    {"merge_of_one", [](Json& j) { j["model"]["merges"].push_back("ab"); },
     ErrorCode::kInvalidInput, "/model/merges/6", "not a merge"},
    {"unknown_unknown", [](Json& j) { j["model"]["unk_token"] = "<unk>"; },
     ErrorCode::kInvalidInput, "/model/unk_token", "vocabulary"},
    {"no_pre_tokenizer", [](Json& j) { j.erase("pre_tokenizer"); }, ErrorCode::kInvalidInput, "",
     "'pre_tokenizer'"},
    {"metaspace", [](Json& j) { j["pre_tokenizer"]["type"] = "Metaspace"; },
     ErrorCode::kUnsupported, "/pre_tokenizer/type", "Metaspace"},
    {"not_byte_level",
     [](Json& j) {
       j["pre_tokenizer"] = {{"type", "Digits"}, {"individual_digits", true}};
     },
     ErrorCode::kUnsupported, "/pre_tokenizer", "ByteLevel"},
    {"split_after_bytes",
     [](Json& j) {
       const Json bytes = j["pre_tokenizer"];
       j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array({bytes, bytes})}};
     },
     ErrorCode::kUnsupported, "/pre_tokenizer/pretokenizers/1/type", "after ByteLevel"},
    {"broken_pattern",
     [](Json& j) {
       const Json split = {
           {"type", "Split"}, {"pattern", {{"Regex", "a("}}}, {"behavior", "Isolated"}};
       j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array({split})}};
     },
     ErrorCode::kInvalidInput, "/pre_tokenizer/pretokenizers/0/pattern/Regex", "at byte 2"},
    {"unknown_behavior",
     [](Json& j) {
       const Json split = {
           {"type", "Split"}, {"pattern", {{"String", "a"}}}, {"behavior", "Eaten"}};
       j["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", Json::array({split})}};
     },
     ErrorCode::kInvalidInput, "/pre_tokenizer/pretokenizers/0/behavior", "Eaten"},
    {"lowercase",
     [](Json& j) {
       j["normalizer"] = {{"type", "Lowercase"}};
     },
     ErrorCode::kUnsupported, "/normalizer/type", "Lowercase"},
    {"bert",
     [](Json& j) {
       j["post_processor"] = {{"type", "BertProcessing"}};
     },
     ErrorCode::kUnsupported, "/post_processor/type", "BertProcessing"},
    {"template_without_text",
     [](Json& j) {
       j["post_processor"] = {{"type", "TemplateProcessing"},
                              {"single", Json::array()},
                              {"special_tokens", Json::object()}};
     },
     ErrorCode::kInvalidInput, "/post_processor/single", "text is missing"},
    {"metaspace_decoder", [](Json& j) { j["decoder"]["type"] = "Metaspace"; },
     ErrorCode::kUnsupported, "/decoder/type", "Metaspace"},
    {"added_over_another", [](Json& j) { j["added_tokens"][0]["id"] = 65; },
     ErrorCode::kInvalidInput, "/added_tokens/0", "token 65 is 'A' and '<|end|>'"},
    {"added_twice", [](Json& j) { j["added_tokens"][1]["content"] = "<|end|>"; },
     ErrorCode::kInvalidInput, "", "'<|end|>' is token 300 and token 301"},
    {"added_far_away", [](Json& j) { j["added_tokens"][0]["id"] = 1LL << 33; },
     ErrorCode::kInvalidInput, "/added_tokens/0", "8589934592"},
    {"added_empty", [](Json& j) { j["added_tokens"][0]["content"] = ""; }, ErrorCode::kInvalidInput,
     "/added_tokens/0/content", "empty"},
};

class BadTokenizer : public testing::TestWithParam<BadCase> {};

TEST_P(BadTokenizer, IsRefusedWhereItIsBad) {
  Json json = tiny_tokenizer();
  GetParam().spoil(json);
  const TinyFolder folder(json);
  const auto opened = folder.open();
  ASSERT_FALSE(opened);
  const Error& error = opened.error();
  EXPECT_EQ(error.code, GetParam().code) << error.to_string();
  const std::string file = (folder.path() / "tokenizer.json").string();
  EXPECT_EQ(error.where, GetParam().place.empty() ? file : file + ": " + GetParam().place);
  EXPECT_NE(error.message.find(GetParam().message), std::string::npos) << error.message;
}

INSTANTIATE_TEST_SUITE_P(All, BadTokenizer, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

TEST(BadTokenizerFolder, WithoutAFileIsNamed) {
  const ScratchFolder folder;
  const auto opened = Tokenizer::open(folder.path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kNotFound);
}

TEST(BadTokenizerFolder, WithABrokenConfigIsNamed) {
  TinyFolder folder;
  folder.write("tokenizer_config.json", {{"added_tokens_decoder", {{"x", {{"content", "y"}}}}}});
  auto opened = folder.open();
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("not a token id"), std::string::npos);
  folder.write(
      "tokenizer_config.json",
      {{"tokenizer_class", "LlamaTokenizer"}, {"add_bos_token", true}, {"bos_token", "<s>"}});
  opened = folder.open();
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().where.find("/bos_token"), std::string::npos);
}

TEST(BadTokenizerFolder, SentencePieceIsUnsupportedWithTheReason) {
  const std::filesystem::path file =
      FIB_SOURCE_DIR "/../shared/data/models/tokenizers/tinyllama_llama2_32000.tokenizer.json";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is not there";
  const ScratchFolder folder;
  std::filesystem::copy(file, folder / "tokenizer.json");
  const auto opened = Tokenizer::open(folder.path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(opened.error().message.find("byte_fallback"), std::string::npos);
}

}  // namespace
}  // namespace fib
