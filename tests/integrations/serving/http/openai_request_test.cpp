#include "integrations/serving/http/openai_request.h"

#include <gtest/gtest.h>

#include "tests/integrations/serving/http/byte_model.h"

namespace fib {
namespace {

using testing::ByteModel;
using testing::bytes_as_tokens;
using testing::kImEnd;
using testing::kImStart;

class OpenAiRequest : public ::testing::Test {
 protected:
  ApiResult<GenerationCall> parse(OpenAiApi api, std::string_view body) {
    const GenerationDefaults defaults = defaults_;
    return parse_generation_call(api, body,
                                 {.tokenizer = model_.tokenizer(),
                                  .chat_template = model_.chat_template(),
                                  .defaults = defaults,
                                  .model_id = "m",
                                  .fallback_seed = 1000});
  }

  // The body `{"model": "m", "prompt": "hi", <more>}`.
  ApiResult<GenerationCall> completion(const std::string& more) {
    return parse(OpenAiApi::kCompletions,
                 R"({"model": "m", "prompt": "hi")" + (more.empty() ? "" : ", " + more) + "}");
  }
  ApiResult<GenerationCall> chat(const std::string& more) {
    return parse(OpenAiApi::kChat,
                 R"({"model": "m", "messages": [{"role": "user", "content": "hi"}])" +
                     (more.empty() ? "" : ", " + more) + "}");
  }
  ApiResult<GenerationCall> prompt(const std::string& json) {
    return parse(OpenAiApi::kCompletions, R"({"model": "m", "prompt": )" + json + "}");
  }

  static void expect_error(const ApiResult<GenerationCall>& call, std::string_view param,
                           std::string_view code, std::string_view part_of_message = {}) {
    ASSERT_FALSE(call.has_value());
    EXPECT_EQ(call.error().param, param) << call.error().message;
    EXPECT_EQ(call.error().code, code) << call.error().message;
    EXPECT_NE(call.error().message.find(part_of_message), std::string::npos)
        << call.error().message;
  }

  ByteModel model_;
  GenerationDefaults defaults_ = model_.defaults();
};

TEST_F(OpenAiRequest, ASmallCompletion) {
  const auto call = completion("");
  ASSERT_TRUE(call) << call.error().message;
  ASSERT_EQ(call->requests.size(), 1u);
  EXPECT_EQ(call->requests[0].prompt, bytes_as_tokens("hi"));
  EXPECT_EQ(call->requests[0].sampling.max_tokens, 16);
  EXPECT_EQ(call->requests[0].sampling.logprobs, -1);
  EXPECT_FALSE(call->is_stream);
}

TEST_F(OpenAiRequest, AChatIsRenderedAndMayFillTheContext) {
  const auto call = chat("");
  ASSERT_TRUE(call) << call.error().message;
  const std::vector<TokenId>& prompt = call->requests.at(0).prompt;
  EXPECT_EQ(prompt.front(), kImStart);
  EXPECT_EQ(std::count(prompt.begin(), prompt.end(), kImStart), 2);
  EXPECT_EQ(std::count(prompt.begin(), prompt.end(), kImEnd), 1);
  EXPECT_EQ(call->requests[0].sampling.max_tokens + static_cast<int>(prompt.size()),
            defaults_.context_length);
}

TEST_F(OpenAiRequest, EveryFieldArrives) {
  const auto call = completion(
      R"("temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1,
         "presence_penalty": -1, "frequency_penalty": 2, "logit_bias": {"7": -100, "258": 1.5},
         "seed": -3, "n": 2, "max_tokens": 5, "stop": ["a", "b"], "stop_token_ids": [3, 4],
         "ignore_eos": true, "logprobs": 3, "stream": true,
         "stream_options": {"include_usage": true}, "user": "me", "metadata": {"a": "b"})");
  ASSERT_TRUE(call) << call.error().message;
  ASSERT_EQ(call->requests.size(), 2u);
  EXPECT_EQ(call->choices_per_prompt, 2);
  EXPECT_TRUE(call->is_stream);
  EXPECT_TRUE(call->wants_usage_chunk);
  const SamplingParams& sampling = call->requests[0].sampling;
  EXPECT_FLOAT_EQ(sampling.temperature, 0.5f);
  EXPECT_FLOAT_EQ(sampling.top_p, 0.9f);
  EXPECT_EQ(sampling.top_k, 40);
  EXPECT_FLOAT_EQ(sampling.min_p, 0.1f);
  EXPECT_FLOAT_EQ(sampling.repetition_penalty, 1.1f);
  EXPECT_FLOAT_EQ(sampling.presence_penalty, -1.0f);
  EXPECT_FLOAT_EQ(sampling.frequency_penalty, 2.0f);
  EXPECT_EQ(sampling.logit_bias, (std::map<TokenId, float>{{7, -100.0f}, {258, 1.5f}}));
  EXPECT_EQ(sampling.max_tokens, 5);
  EXPECT_EQ(sampling.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(sampling.stop_tokens, (std::vector<TokenId>{3, 4}));
  EXPECT_TRUE(sampling.ignore_eos);
  EXPECT_EQ(sampling.logprobs, 3);
  EXPECT_EQ(sampling.seed, static_cast<uint64_t>(-3));
  EXPECT_EQ(call->requests[1].sampling.seed, static_cast<uint64_t>(-2));
}

TEST_F(OpenAiRequest, DefaultsAreTheModels) {
  defaults_.temperature = 0.7f;
  defaults_.top_p = 0.8f;
  defaults_.top_k = 20;
  const auto call = completion(R"("temperature": null)");
  ASSERT_TRUE(call);
  EXPECT_FLOAT_EQ(call->requests[0].sampling.temperature, 0.7f);
  EXPECT_FLOAT_EQ(call->requests[0].sampling.top_p, 0.8f);
  EXPECT_EQ(call->requests[0].sampling.top_k, 20);
  EXPECT_EQ(completion(R"("top_k": -1)")->requests[0].sampling.top_k, 0);
  EXPECT_GT(completion(R"("top_p": 0)")->requests[0].sampling.top_p, 0.0f);
}

TEST_F(OpenAiRequest, WithoutSeedChoicesAndPromptsDiffer) {
  const auto call =
      parse(OpenAiApi::kCompletions, R"({"model": "m", "prompt": ["a", "a"], "n": 2})");
  ASSERT_TRUE(call);
  std::vector<uint64_t> seeds;
  for (const EngineRequest& request : call->requests) seeds.push_back(request.sampling.seed);
  EXPECT_EQ(seeds, (std::vector<uint64_t>{1000, 1001, 1002, 1003}));
}

TEST_F(OpenAiRequest, PromptsInEachForm) {
  EXPECT_EQ(prompt(R"("ab")")->requests[0].prompt, bytes_as_tokens("ab"));
  EXPECT_EQ(prompt(R"("<|im_end|>")")->requests[0].prompt, std::vector<TokenId>{kImEnd});
  EXPECT_EQ(prompt("[97, 258]")->requests[0].prompt, (std::vector<TokenId>{97, 258}));
  EXPECT_EQ(prompt(R"(["a", "bc"])")->requests[1].prompt, bytes_as_tokens("bc"));
  EXPECT_EQ(prompt("[[1], [2, 3]]")->requests[1].prompt, (std::vector<TokenId>{2, 3}));
}

TEST_F(OpenAiRequest, PromptsInNoForm) {
  expect_error(prompt("null"), "prompt", "missing_required_parameter");
  expect_error(prompt("7"), "prompt", "invalid_type", "an array of strings");
  expect_error(prompt("[]"), "prompt", "invalid_value");
  expect_error(prompt(R"("")"), "prompt", "invalid_value");
  expect_error(prompt("[[]]"), "prompt", "invalid_value");
  expect_error(prompt(R"(["a", 7])"), "prompt", "invalid_type");
  expect_error(prompt(R"(["a", [7]])"), "prompt", "invalid_type");
  expect_error(prompt("[{}]"), "prompt", "invalid_type");
  expect_error(prompt("[1, 259]"), "prompt[1]", "integer_above_max_value", "<= 258");
  expect_error(prompt("[-1]"), "prompt[0]", "integer_below_min_value");
  expect_error(prompt("[1.5]"), "prompt[0]", "invalid_type");
  expect_error(prompt("[[1], [1e99]]"), "prompt[1][0]", "invalid_type");
}

TEST_F(OpenAiRequest, TypesAndRanges) {
  expect_error(completion(R"("temperature": "1")"), "temperature", "invalid_type", "a string");
  expect_error(completion(R"("temperature": "NaN")"), "temperature", "invalid_type");
  expect_error(completion(R"("temperature": 2.5)"), "temperature", "decimal_above_max_value");
  expect_error(completion(R"("temperature": -0.1)"), "temperature", "decimal_below_min_value");
  expect_error(completion(R"("top_p": 1.1)"), "top_p", "decimal_above_max_value");
  expect_error(completion(R"("max_tokens": 0)"), "max_tokens", "integer_below_min_value");
  expect_error(completion(R"("max_tokens": 2.0)"), "max_tokens", "invalid_type", "a decimal");
  expect_error(completion(R"("max_tokens": 18446744073709551615)"), "max_tokens",
               "integer_above_max_value");
  expect_error(completion(R"("n": 17)"), "n", "integer_above_max_value");
  expect_error(completion(R"("stream": 1)"), "stream", "invalid_type");
  expect_error(completion(R"("logprobs": true)"), "logprobs", "invalid_type");
  expect_error(completion(R"("logprobs": 21)"), "logprobs", "integer_above_max_value");
  expect_error(completion(R"("logit_bias": {"259": 1})"), "logit_bias", "invalid_value", "258");
  expect_error(completion(R"("logit_bias": {"1x": 1})"), "logit_bias", "invalid_value");
  expect_error(completion(R"("logit_bias": {"1": 101})"), "logit_bias.1",
               "decimal_above_max_value");
  expect_error(completion(R"("logit_bias": [1])"), "logit_bias", "invalid_type");
  expect_error(completion(R"("stop": ["a", "b", "c", "d", "e"])"), "stop", "invalid_value");
  expect_error(completion(R"("stop": [1])"), "stop[0]", "invalid_type");
  expect_error(completion(R"("stop": "")"), "stop", "invalid_value");
  expect_error(completion(R"("stop": 5)"), "stop", "invalid_type");
  expect_error(completion("\"stop\": \"" + std::string(2000, 'x') + "\""), "stop", "invalid_value");
  expect_error(completion(R"("stop_token_ids": 1)"), "stop_token_ids", "invalid_type");
  expect_error(completion(R"("stop_token_ids": [999])"), "stop_token_ids[0]",
               "integer_above_max_value");
  expect_error(completion(R"("stream_options": {"include_usage": true})"), "stream_options",
               "invalid_value");
  expect_error(completion(R"("stream": true, "stream_options": {"usage": true})"),
               "stream_options.usage", "unknown_parameter");
  expect_error(chat(R"("logprobs": 2)"), "logprobs", "invalid_type");
  expect_error(chat(R"("top_logprobs": 2)"), "top_logprobs", "invalid_value");
  expect_error(chat(R"("max_tokens": 3, "max_completion_tokens": 3)"), "max_tokens",
               "invalid_value");
}

TEST_F(OpenAiRequest, UnknownFieldsAreNamed) {
  expect_error(completion(R"("temprature": 1)"), "temprature", "unknown_parameter",
               "Did you mean 'temperature'?");
  expect_error(completion(R"("messages": [])"), "messages", "unknown_parameter");
  expect_error(chat(R"("prompt": "x")"), "prompt", "unknown_parameter");
}

TEST_F(OpenAiRequest, FieldsOfOpenAiThatAreNotSupported) {
  for (const char* field :
       {R"("tools": [{"type": "function"}])", R"("tool_choice": "auto")",
        R"("response_format": {"type": "json_object"})", R"("modalities": ["text", "audio"])",
        R"("audio": {"voice": "alloy"})", R"("reasoning_effort": "low")"}) {
    const std::string name = std::string(field).substr(1, std::string(field).find("\":") - 1);
    expect_error(chat(field), name, "unsupported_parameter");
  }
  expect_error(completion(R"("echo": true)"), "echo", "unsupported_parameter");
  expect_error(completion(R"("best_of": 3)"), "best_of", "unsupported_parameter");
  expect_error(completion(R"("suffix": "x")"), "suffix", "unsupported_parameter");
}

TEST_F(OpenAiRequest, UnsupportedFieldsThatAskForNothingPass) {
  EXPECT_TRUE(chat(R"("tools": [], "tool_choice": null, "response_format": {"type": "text"},
                      "modalities": ["text"], "store": false, "service_tier": "auto")"));
  EXPECT_TRUE(completion(R"("echo": false, "best_of": 1, "suffix": null)"));
}

TEST_F(OpenAiRequest, LogprobsOfAChat) {
  EXPECT_EQ(chat(R"("logprobs": true)")->requests[0].sampling.logprobs, 0);
  EXPECT_EQ(chat(R"("logprobs": true, "top_logprobs": 4)")->requests[0].sampling.logprobs, 4);
  EXPECT_EQ(chat(R"("logprobs": false)")->requests[0].sampling.logprobs, -1);
}

TEST_F(OpenAiRequest, Messages) {
  const auto messages = [&](const std::string& json) {
    return parse(OpenAiApi::kChat, R"({"model": "m", "messages": )" + json + "}");
  };
  EXPECT_TRUE(messages(R"([{"role": "developer", "content": "be brief"},
                           {"role": "user", "content": [{"type": "text", "text": "a"},
                                                        {"type": "text", "text": "b"}],
                            "name": "me"},
                           {"role": "assistant", "content": "c", "refusal": null}])"));
  expect_error(messages("[]"), "messages", "invalid_value");
  expect_error(messages("{}"), "messages", "invalid_type");
  expect_error(messages("[1]"), "messages[0]", "invalid_type");
  expect_error(messages(R"([{"content": "x"}])"), "messages[0].role", "missing_required_parameter");
  expect_error(messages(R"([{"role": "user"}])"), "messages[0].content",
               "missing_required_parameter");
  expect_error(messages(R"([{"role": "boss", "content": "x"}])"), "messages[0].role",
               "invalid_value", "boss");
  expect_error(messages(R"([{"role": "user", "content": 1}])"), "messages[0].content",
               "invalid_type");
  expect_error(messages(R"([{"role": "user", "content": [{"type": "image_url"}]}])"),
               "messages[0].content[0].type", "unsupported_parameter");
  expect_error(messages(R"([{"role": "user", "content": [{"type": "text"}]}])"),
               "messages[0].content[0].text", "missing_required_parameter");
  expect_error(messages(R"([{"role": "user", "content": "x", "colour": 1}])"), "messages[0].colour",
               "unknown_parameter");
  expect_error(messages(R"([{"role": "assistant", "content": "x", "tool_calls": [{"id": "a"}]}])"),
               "messages[0].tool_calls", "unsupported_parameter");
}

TEST_F(OpenAiRequest, TheContextIsNotExceeded) {
  defaults_.context_length = 10;
  expect_error(completion(R"("max_tokens": 9)"), "prompt", "context_length_exceeded",
               "11 tokens (2 in the prompt, 9 in the completion)");
  EXPECT_TRUE(completion(R"("max_tokens": 8)"));
  EXPECT_EQ(completion("")->requests[0].sampling.max_tokens, 8);
  expect_error(prompt(R"("0123456789")"), "prompt", "context_length_exceeded",
               "10 tokens in the prompt");
  EXPECT_EQ(prompt(R"("012345678")")->requests[0].sampling.max_tokens, 1);
  expect_error(chat(""), "messages", "context_length_exceeded");
}

TEST_F(OpenAiRequest, AnUnknownChatTemplateLeavesCompletions) {
  const ByteModel model(ByteModel::Template::kUnknown);
  const GenerationDefaults defaults = model.defaults();
  const RequestContext context{.tokenizer = model.tokenizer(),
                               .chat_template = model.chat_template(),
                               .defaults = defaults,
                               .model_id = "m"};
  const auto refused = parse_generation_call(
      OpenAiApi::kChat, R"({"model": "m", "messages": [{"role": "user", "content": "hi"}]})",
      context);
  expect_error(refused, "", "chat_template_unsupported", "none of the known kinds. Use /v1/comple");
  EXPECT_EQ(refused.error().status, 400);
  EXPECT_TRUE(parse_generation_call(OpenAiApi::kCompletions, R"({"model": "m", "prompt": "hi"})",
                                    context));
}

TEST_F(OpenAiRequest, NoMoreChoicesThanAllowed) {
  std::string many = "[";
  for (int i = 0; i < 33; ++i) many += i ? ",[1]" : "[1]";
  many += "]";
  EXPECT_TRUE(prompt(many));
  expect_error(parse(OpenAiApi::kCompletions, R"({"model": "m", "n": 4, "prompt": )" + many + "}"),
               "n", "invalid_value");
}

TEST_F(OpenAiRequest, NoMoreChoicesThanTheQueueTakes) {
  defaults_.max_queued = 8;
  EXPECT_TRUE(completion(R"("n": 8)"));
  expect_error(completion(R"("n": 9)"), "n", "invalid_value", "queue takes 8 at a time");
  expect_error(prompt(R"(["1", "2", "3", "4", "5", "6", "7", "8", "9"])"), "prompt",
               "invalid_value", "that is 9 choices");
}

TEST_F(OpenAiRequest, TheModelMustBeTheOneServed) {
  const auto other = parse(OpenAiApi::kCompletions, R"({"model": "other", "prompt": "x"})");
  expect_error(other, "model", "model_not_found", "other");
  EXPECT_EQ(other.error().status, 404);
  expect_error(parse(OpenAiApi::kCompletions, R"({"prompt": "x"})"), "model",
               "missing_required_parameter");
}

TEST_F(OpenAiRequest, BodiesThatAreNotJson) {
  for (const std::string_view body :
       {"", "{", "[1", "hello", "{\"model\": \"m\",}", "{\"model\": \"m\", \"model\": \"m\"}",
        "{\"model\": \"\xff\"}", "{\"model\": \"\\ud800\"}", "{} {}"}) {
    expect_error(parse(OpenAiApi::kCompletions, body), "", "invalid_json");
  }
  expect_error(parse(OpenAiApi::kCompletions, std::string(100000, '[')), "", "invalid_json");
  expect_error(parse(OpenAiApi::kCompletions, "[]"), "body", "invalid_type");
}

}  // namespace
}  // namespace fib
