#include "integrations/serving/tokenizer/tokenizer.h"

#include <gtest/gtest.h>

#include "tests/integrations/serving/tokenizer/tiny_tokenizer.h"

namespace fib {
namespace {

using Tokens = std::vector<TokenId>;
constexpr auto kParse = Tokenizer::SpecialTokens::kParse;
constexpr auto kAsText = Tokenizer::SpecialTokens::kAsText;

TEST(Tokenizer, MergesTheEarliestLearnedFirst) {
  EXPECT_EQ(encode(tiny_tokenizer(), "the the"), (Tokens{257, 258}));
  EXPECT_EQ(encode(tiny_tokenizer(), "he"), (Tokens{259}));
  // "aaaaa": pairs from the left, then pairs of pairs.
  EXPECT_EQ(encode(tiny_tokenizer(), "aaaaa"), (Tokens{261, 'a'}));
  EXPECT_EQ(encode(tiny_tokenizer(), ""), (Tokens{}));
}

TEST(Tokenizer, MergesAsPairsAreTheSame) {
  Json json = tiny_tokenizer();
  Json& merges = json["model"]["merges"];
  for (Json& merge : merges) {
    const auto text = merge.get<std::string>();
    const size_t space = text.find(' ');
    merge = Json::array({text.substr(0, space), text.substr(space + 1)});
  }
  EXPECT_EQ(encode(json, "the the aaaa"), encode(tiny_tokenizer(), "the the aaaa"));
}

TEST(Tokenizer, IgnoresMergesOfWholeWordsWhereAsked) {
  Json json = tiny_tokenizer();
  json["model"]["vocab"]["xyz"] = 262;  // no merge leads to it
  EXPECT_EQ(encode(json, "xyz"), (Tokens{'x', 'y', 'z'}));
  json["model"]["ignore_merges"] = true;
  EXPECT_EQ(encode(json, "xyz"), (Tokens{262}));
}

TEST(Tokenizer, FindsAddedTokensAsTheyAreAskedFor) {
  auto tokenizer = TinyFolder().open();
  ASSERT_TRUE(tokenizer) << tokenizer.error().to_string();
  EXPECT_EQ(encode(*tokenizer, "the<|end|><tool>", kParse), (Tokens{257, 300, 301}));
  const Tokens typed = encode(*tokenizer, "<|end|><tool>", kAsText);
  EXPECT_EQ(typed.size(), 8u);
  EXPECT_EQ(typed.back(), 301);
  EXPECT_EQ(tokenizer->decode(typed), "<|end|><tool>");

  EXPECT_EQ(tokenizer->vocab_size(), 302);
  EXPECT_EQ(tokenizer->find("<|end|>"), 300);
  EXPECT_EQ(tokenizer->find("<|end"), std::nullopt);
  EXPECT_TRUE(tokenizer->is_special(300));
  EXPECT_FALSE(tokenizer->is_special(301));
  EXPECT_EQ(tokenizer->bytes(300), "");
  EXPECT_EQ(tokenizer->bytes(301), "<tool>");
  EXPECT_EQ(tokenizer->bytes(258), " the");
  EXPECT_EQ(tokenizer->piece(258), "\u0120the");
  for (const TokenId nobody : {-1, 262, 299, 302, 1 << 30}) {
    EXPECT_EQ(tokenizer->bytes(nobody), "");
    EXPECT_EQ(tokenizer->piece(nobody), "");
    EXPECT_FALSE(tokenizer->is_special(nobody));
  }
}

TEST(Tokenizer, LongestAddedTokenWins) {
  Json json = tiny_tokenizer();
  Json longer = json["added_tokens"][1];
  longer["id"] = 302;
  longer["content"] = "<tool>s";
  json["added_tokens"].push_back(longer);
  EXPECT_EQ(encode(json, "<tool>s<tool>x"), (Tokens{302, 301, 'x'}));
}

TEST(Tokenizer, AddedTokensTakeSpacesAndWordsAsTheirFlagsSay) {
  Json json = tiny_tokenizer();
  json["added_tokens"][1]["lstrip"] = true;
  json["added_tokens"][1]["rstrip"] = true;
  EXPECT_EQ(encode(json, "x \u3000<tool> \ny"), (Tokens{'x', 301, 'y'}));
  EXPECT_EQ(encode(json, "<tool> <tool>"), (Tokens{301, 301}));
  json = tiny_tokenizer();
  json["added_tokens"][1]["content"] = "tool";
  json["added_tokens"][1]["single_word"] = true;
  EXPECT_EQ(encode(json, "tool"), (Tokens{301}));
  EXPECT_EQ(encode(json, "tools"), (Tokens{'t', 'o', 'o', 'l', 's'}));
  EXPECT_EQ(encode(json, "\u00e9tool").size(), 6u);
}

TEST(Tokenizer, NormalizedTokensAreFoundAfterNormalization) {
  Json json = tiny_tokenizer();
  json["normalizer"] = {{"type", "NFC"}};
  EXPECT_EQ(encode(json, "e\u0301"), (Tokens{0xc3, 0xa9}));
  json["added_tokens"][1]["content"] = "e\u0301";
  json["added_tokens"][1]["normalized"] = true;
  EXPECT_EQ(encode(json, "x\u00e9"), (Tokens{'x', 301}));
  json["normalizer"] = {{"type", "Sequence"}, {"normalizers", Json::array({{{"type", "NFKD"}}})}};
  EXPECT_EQ(encode(json, "\u00bd"), (Tokens{'1', 0xe2, 0x81, 0x84, '2'}));
}

TEST(Tokenizer, PostProcessorAddsWhatIsNotThere) {
  const Json end = {{"SpecialToken", {{"id", "E"}, {"type_id", 0}}}};
  const Json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  const Json around = {{"type", "TemplateProcessing"},
                       {"single", Json::array({end, text, end})},
                       {"special_tokens", {{"E", {{"id", "E"}, {"ids", {300}}}}}}};
  Json json = tiny_tokenizer();
  json["post_processor"] = {{"type", "Sequence"},
                            {"processors", Json::array({{{"type", "ByteLevel"}}, around})}};
  EXPECT_EQ(encode(json, "x"), (Tokens{300, 'x', 300}));
  EXPECT_EQ(encode(json, "<|end|>x"), (Tokens{300, 'x', 300}));
  json["post_processor"] = around;
  json["post_processor"]["special_tokens"]["E"]["ids"] = {302};
  const auto opened = TinyFolder(json).open();
  ASSERT_FALSE(opened);
  EXPECT_NE(opened.error().message.find("no token 302"), std::string::npos);
}

TEST(Tokenizer, ConfigAddsTokensAndLlamasBeginning) {
  TinyFolder folder;
  Json config = {{"tokenizer_class", "LlamaTokenizerFast"},
                 {"add_bos_token", true},
                 {"bos_token", {{"content", "<s>"}}},
                 {"added_tokens_decoder",
                  {{"300", {{"content", "<|end|>"}, {"special", true}}},
                   {"305", {{"content", "<s>"}, {"special", true}}}}}};
  folder.write("tokenizer_config.json", config);
  auto tokenizer = folder.open();
  ASSERT_TRUE(tokenizer) << tokenizer.error().to_string();
  EXPECT_EQ(encode(*tokenizer, "x", kParse), (Tokens{305, 'x'}));
  EXPECT_EQ(encode(*tokenizer, "<s>x", kParse), (Tokens{305, 'x'}));
  config["tokenizer_class"] = "PreTrainedTokenizerFast";
  folder.write("tokenizer_config.json", config);
  tokenizer = folder.open();
  ASSERT_TRUE(tokenizer) << tokenizer.error().to_string();
  EXPECT_EQ(encode(*tokenizer, "x", kParse), (Tokens{'x'}));
}

TEST(Tokenizer, UnknownBytesAreDroppedOrReplaced) {
  Json json = tiny_tokenizer();
  json["model"]["vocab"].erase(std::string("z"));
  EXPECT_EQ(encode(json, "zaz"), (Tokens{'a'}));
  json["model"]["unk_token"] = "?";
  EXPECT_EQ(encode(json, "zzaz"), (Tokens{'?', '?', 'a', '?'}));
  json["model"]["fuse_unk"] = true;
  EXPECT_EQ(encode(json, "zzaz"), (Tokens{'?', 'a', '?'}));
}

TEST(Tokenizer, PrefixSpaceIsAddedBeforeText) {
  Json json = tiny_tokenizer();
  json["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_EQ(encode(json, "the"), (Tokens{258}));
  EXPECT_EQ(encode(json, " the"), (Tokens{258}));
  EXPECT_EQ(encode(json, ""), (Tokens{}));
}

TEST(Tokenizer, TextThatIsNotUtf8IsRefused) {
  auto tokenizer = TinyFolder().open();
  ASSERT_TRUE(tokenizer);
  for (const std::string_view text : {"ab\xff", "ab\xc3", "ab\xed\xa0\x80", "ab\xc0\x80"}) {
    const auto tokens = tokenizer->encode(text, kParse);
    ASSERT_FALSE(tokens);
    EXPECT_EQ(tokens.error().code, ErrorCode::kInvalidInput);
    EXPECT_NE(tokens.error().message.find("byte 2"), std::string::npos);
  }
  EXPECT_EQ(encode(*tokenizer, std::string_view("\0", 1), kParse), (Tokens{0}));
}

TEST(Tokenizer, TakesAMillionLettersOrSpaces) {
  auto tokenizer = TinyFolder().open();
  ASSERT_TRUE(tokenizer);
  constexpr size_t kLength = 1'000'000;
  EXPECT_EQ(encode(*tokenizer, std::string(kLength, 'a'), kParse), Tokens(kLength / 4, 261));
  EXPECT_EQ(encode(*tokenizer, std::string(kLength, ' '), kParse).size(), kLength);
  EXPECT_EQ(encode(*tokenizer, std::string(kLength, '\n') + "x", kParse).size(), kLength + 1);
}

TEST(Tokenizer, AHeapOfMarksIsRefusedWhereMarksAreOrdered) {
  Json json = tiny_tokenizer();
  json["normalizer"] = {{"type", "NFC"}};
  auto tokenizer = TinyFolder(json).open();
  ASSERT_TRUE(tokenizer);
  std::string marks = "a";
  for (int i = 0; i < 600; ++i) marks += "\u0315\u0316";
  const auto tokens = tokenizer->encode(marks, kParse);
  ASSERT_FALSE(tokens);
  EXPECT_NE(tokens.error().message.find("combining marks"), std::string::npos);
}

}  // namespace
}  // namespace fib
