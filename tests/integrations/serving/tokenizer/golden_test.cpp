// The bundled model's tokenizer against its golden.json, which Hugging Face's library computed.

#include <gtest/gtest.h>

#include "integrations/serving/tokenizer/tokenizer.h"
#include "signatures/base/json.h"

namespace fib {
namespace {

const std::filesystem::path kModel = FIB_SOURCE_DIR "/integrations/serving/models/fib-tiny-moe";

std::vector<TokenId> ids(const Json& list) {
  std::vector<TokenId> tokens;
  for (const Json& id : list) tokens.push_back(id.get<TokenId>());
  return tokens;
}

class GoldenTokens : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Tokenizer::open(kModel);
    ASSERT_TRUE(opened) << opened.error().to_string();
    tokenizer_ = std::make_unique<Tokenizer>(*std::move(opened));
    auto golden = read_json_file(kModel / "golden.json");
    ASSERT_TRUE(golden) << golden.error().to_string();
    cases_ = golden->at("cases");
    ASSERT_FALSE(cases_.empty());
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  Json cases_;
};

TEST_F(GoldenTokens, PromptsGiveTheirIds) {
  for (const Json& one : cases_) {
    const auto prompt = one.at("prompt").get<std::string>();
    const auto tokens = tokenizer_->encode(prompt, Tokenizer::SpecialTokens::kParse);
    ASSERT_TRUE(tokens) << tokens.error().to_string();
    EXPECT_EQ(*tokens, ids(one.at("prompt_ids"))) << prompt;
  }
}

TEST_F(GoldenTokens, IdsGiveTheirText) {
  for (const Json& one : cases_) {
    const std::vector<TokenId> tokens = ids(one.at("greedy_ids"));
    EXPECT_EQ(tokenizer_->decode(tokens), one.at("greedy_text").get<std::string>());
    TextStream stream(*tokenizer_);
    std::string streamed;
    for (const TokenId token : tokens) streamed += stream.push(token);
    streamed += stream.finish();
    EXPECT_EQ(streamed, one.at("greedy_text").get<std::string>());
    for (const Json& candidate : one.at("top5"))
      EXPECT_EQ(tokenizer_->decode({candidate.at("id").get<TokenId>()}),
                candidate.at("token").get<std::string>());
  }
}

TEST_F(GoldenTokens, EndOfTextIsTokenZero) {
  EXPECT_EQ(tokenizer_->vocab_size(), 4096);
  EXPECT_EQ(tokenizer_->find("<|endoftext|>"), 0);
  EXPECT_TRUE(tokenizer_->is_special(0));
  EXPECT_EQ(tokenizer_->bytes(0), "");
  EXPECT_EQ(tokenizer_->piece(0), "<|endoftext|>");
  const auto parsed = tokenizer_->encode("<|endoftext|>a", Tokenizer::SpecialTokens::kParse);
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->size(), 2u);
  EXPECT_EQ(parsed->front(), 0);
  const auto typed = tokenizer_->encode("<|endoftext|>a", Tokenizer::SpecialTokens::kAsText);
  ASSERT_TRUE(typed);
  EXPECT_GT(typed->size(), 2u);
  EXPECT_EQ(tokenizer_->decode(*typed), "<|endoftext|>a");
}

}  // namespace
}  // namespace fib
