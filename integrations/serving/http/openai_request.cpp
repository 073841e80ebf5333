#include "integrations/serving/http/openai_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <utility>

#include "integrations/serving/http/json_fields.h"

namespace fib {
namespace {

using Unsupported = JsonFields::Unsupported;

constexpr int kCompletionsDefaultTokens = 16;  // OpenAI's; a chat's answer may fill the context
constexpr std::string_view kCommonFields[] = {
    "model", "n", "max_tokens", "temperature", "top_p", "stop", "seed", "stream", "stream_options",
    "logprobs", "logit_bias", "presence_penalty", "frequency_penalty",
    // Extensions, named as other servers name them.
    "top_k", "min_p", "repetition_penalty", "ignore_eos", "stop_token_ids",
    // For the bookkeeping of OpenAI's own service; they ask nothing of an answer.
    "user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key",
    "prompt_cache_retention"};
constexpr std::string_view kCompletionsFields[] = {"prompt"};
constexpr std::string_view kChatFields[] = {"messages", "max_completion_tokens", "top_logprobs"};

std::vector<std::string_view> known_fields(OpenAiApi api) {
  std::vector<std::string_view> fields(std::begin(kCommonFields), std::end(kCommonFields));
  if (api == OpenAiApi::kChat) {
    fields.insert(fields.end(), std::begin(kChatFields), std::end(kChatFields));
  } else {
    fields.insert(fields.end(), std::begin(kCompletionsFields), std::end(kCompletionsFields));
  }
  return fields;
}

std::vector<Unsupported> unsupported_fields(OpenAiApi api) {
  if (api == OpenAiApi::kCompletions) return {{"best_of", 1}, {"echo", false}, {"suffix", ""}};
  return {{"tools", Json::array()},
          {"tool_choice", "none"},
          {"parallel_tool_calls", true},
          {"functions", Json::array()},
          {"function_call", "none"},
          {"response_format", {{"type", "text"}}},
          {"modalities", Json::array({"text"})},
          {"audio"},
          {"prediction"},
          {"reasoning_effort"},
          {"verbosity"},
          {"web_search_options"}};
}

ApiError too_long(size_t prompt_tokens, std::optional<int64_t> max_tokens, int context_length,
                  std::string_view param) {
  std::string asked = max_tokens ? fmt::format("{} tokens ({} in the {}, {} in the completion)",
                                               prompt_tokens + static_cast<size_t>(*max_tokens),
                                               prompt_tokens, param, *max_tokens)
                                 : fmt::format("{} tokens in the {}", prompt_tokens, param);
  return {
      .message = fmt::format("This model's maximum context length is {} tokens. However, you "
                             "requested {}. Please reduce the length of the {}{}.",
                             context_length, asked, param, max_tokens ? " or the completion" : ""),
      .param = std::string(param),
      .code = "context_length_exceeded"};
}

// --- prompts

ApiResult<std::vector<TokenId>> encode(std::string_view text, std::string_view name,
                                       const RequestContext& context) {
  auto tokens = context.tokenizer.encode(text, Tokenizer::SpecialTokens::kParse);
  if (!tokens) return fail(invalid_value(name, tokens.error().to_string()));
  return std::move(*tokens);
}

ApiResult<std::vector<TokenId>> read_token_ids(const Json& json, std::string_view name,
                                               const RequestContext& context) {
  std::vector<TokenId> tokens;
  tokens.reserve(json.size());
  for (const Json& token : json) {
    tokens.push_back(static_cast<TokenId>(FIB_TRY(read_integer(
        token, fmt::format("{}[{}]", name, tokens.size()), {0, context.defaults.vocab_size - 1}))));
  }
  return tokens;
}

constexpr std::string_view kPromptForms =
    "a string, an array of strings, an array of tokens or an array of arrays of tokens";

ApiResult<std::vector<std::vector<TokenId>>> read_prompts(const Json& json,
                                                          const RequestContext& context) {
  std::vector<std::vector<TokenId>> prompts;
  if (json.is_string()) {
    prompts.push_back(FIB_TRY(encode(json.get_ref<const std::string&>(), "prompt", context)));
    return prompts;
  }
  if (!json.is_array()) return fail(wrong_type("prompt", kPromptForms, json));
  if (json.empty()) return fail(invalid_value("prompt", "the array is empty."));
  if (json[0].is_number()) {
    prompts.push_back(FIB_TRY(read_token_ids(json, "prompt", context)));
    return prompts;
  }
  if (json.size() > kMostChoices)
    return fail(invalid_value("prompt", fmt::format("at most {} prompts.", kMostChoices)));
  for (const Json& prompt : json) {
    const std::string name = fmt::format("prompt[{}]", prompts.size());
    if (prompt.type() != json[0].type() || !(prompt.is_string() || prompt.is_array()))
      return fail(wrong_type("prompt", kPromptForms, prompt));
    prompts.push_back(prompt.is_string()
                          ? FIB_TRY(encode(prompt.get_ref<const std::string&>(), name, context))
                          : FIB_TRY(read_token_ids(prompt, name, context)));
  }
  return prompts;
}

// A string, or an array of parts that are all text.
ApiResult<std::string> read_content(const Json& json, const std::string& name) {
  if (json.is_string()) return json.get<std::string>();
  if (!json.is_array()) return fail(wrong_type(name, "a string or an array of parts", json));
  std::string text;
  for (size_t i = 0; i < json.size(); ++i) {
    const std::string part_name = fmt::format("{}[{}]", name, i);
    const JsonFields part = FIB_TRY(JsonFields::of(json[i], part_name, part_name + "."));
    const std::string type =
        FIB_TRY(read_string(*FIB_TRY(part.required("type")), part.name_of("type")));
    if (type != "text")
      return fail(ApiError{.message = fmt::format(
                               "Unsupported value: '{}' is '{}', and this server reads only text.",
                               part.name_of("type"), type),
                           .param = part.name_of("type"),
                           .code = "unsupported_parameter"});
    FIB_CHECK(part.check_known(std::to_array<std::string_view>({"type", "text"}), {}));
    text += FIB_TRY(read_string(*FIB_TRY(part.required("text")), part.name_of("text")));
  }
  return text;
}

ApiResult<ChatMessage> read_message(const Json& json, const std::string& name) {
  static constexpr std::string_view kRoles[] = {"system", "developer", "user", "assistant", "tool"};
  const JsonFields fields = FIB_TRY(JsonFields::of(json, name, name + "."));
  const std::string role =
      FIB_TRY(read_string(*FIB_TRY(fields.required("role")), fields.name_of("role")));
  if (std::ranges::find(kRoles, role) == std::end(kRoles))
    return fail(invalid_value(
        fields.name_of("role"),
        fmt::format("'{}' is none of system, developer, user, assistant and tool.", role)));
  // A name has no place in any of the known templates.
  const Unsupported unsupported[] = {
      {"tool_calls", Json::array()}, {"function_call"}, {"audio"}, {"refusal"}};
  FIB_CHECK(fields.check_known(
      std::to_array<std::string_view>({"role", "content", "name", "tool_call_id"}), unsupported));
  FIB_CHECK(fields.string("name"));
  FIB_CHECK(fields.string("tool_call_id"));
  return ChatMessage{.role = role == "developer" ? "system" : role,
                     .content = FIB_TRY(read_content(*FIB_TRY(fields.required("content")),
                                                     fields.name_of("content")))};
}

ApiError no_chats(const Error& why) {
  return {.message = fmt::format(
              "This server can't write chats in the form that its model was trained on: {}. Use "
              "/v1/completions with a prompt in that form.",
              why.message),
          .code = "chat_template_unsupported"};
}

ApiResult<std::vector<TokenId>> read_messages(const Json& json, const RequestContext& context) {
  if (!json.is_array()) return fail(wrong_type("messages", "an array of messages", json));
  if (json.empty()) return fail(invalid_value("messages", "the array is empty."));
  std::vector<ChatMessage> messages;
  messages.reserve(json.size());
  for (const Json& message : json)
    messages.push_back(
        FIB_TRY(read_message(message, fmt::format("messages[{}]", messages.size()))));
  const auto text = context.chat_template->render(messages);
  if (!text) return fail(invalid_value("messages", text.error().to_string()));
  return encode(*text, "messages", context);
}

// --- sampling

ApiResult<std::vector<std::string>> read_stop(const JsonFields& fields) {
  const Json* json = fields.find("stop");
  if (!json) return {};
  std::vector<std::string> stops;
  if (json->is_string()) {
    stops.push_back(json->get<std::string>());
  } else if (json->is_array()) {
    if (json->size() > kMostStopStrings)
      return fail(invalid_value("stop", fmt::format("at most {} stop strings.", kMostStopStrings)));
    for (const Json& stop : *json)
      stops.push_back(FIB_TRY(read_string(stop, fmt::format("stop[{}]", stops.size()))));
  } else {
    return fail(wrong_type("stop", "a string or an array of strings", *json));
  }
  for (const std::string& stop : stops) {
    if (stop.empty()) return fail(invalid_value("stop", "a stop string is empty."));
    if (stop.size() > kLongestStopString)
      return fail(invalid_value(
          "stop", fmt::format("a stop string is longer than {} bytes.", kLongestStopString)));
  }
  return stops;
}

ApiResult<std::map<TokenId, float>> read_logit_bias(const JsonFields& fields,
                                                    const RequestContext& context) {
  const Json* json = fields.find("logit_bias");
  if (!json) return {};
  if (!json->is_object()) return fail(wrong_type("logit_bias", "an object", *json));
  std::map<TokenId, float> biases;
  for (const auto& [key, value] : json->items()) {
    TokenId token = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0 ||
        token >= context.defaults.vocab_size)
      return fail(invalid_value(
          "logit_bias", fmt::format("'{}' is no token of this model: they go from 0 to {}.", key,
                                    context.defaults.vocab_size - 1)));
    biases[token] = static_cast<float>(
        FIB_TRY(read_number(value, fmt::format("logit_bias.{}", key), {-100.0, 100.0})));
  }
  return biases;
}

// Completions: the number of alternatives. Chat: whether at all, and the number beside it.
ApiResult<int> read_logprobs(OpenAiApi api, const JsonFields& fields) {
  constexpr IntegerRange kRange{0, kMostLogprobs};
  if (api == OpenAiApi::kCompletions)
    return static_cast<int>(FIB_TRY(fields.integer("logprobs", kRange)).value_or(-1));
  const bool wants = FIB_TRY(fields.boolean("logprobs")).value_or(false);
  const auto top = FIB_TRY(fields.integer("top_logprobs", kRange));
  if (top && !wants)
    return fail(invalid_value("top_logprobs", "'logprobs' must be true for it to be used."));
  return wants ? static_cast<int>(top.value_or(0)) : -1;
}

ApiResult<SamplingParams> read_sampling(OpenAiApi api, const JsonFields& fields,
                                        const RequestContext& context) {
  const GenerationDefaults& defaults = context.defaults;
  const auto number = [&](std::string_view name, NumberRange range,
                          float otherwise) -> ApiResult<float> {
    const auto value = FIB_TRY(fields.number(name, range));
    return value ? static_cast<float>(*value) : otherwise;
  };
  SamplingParams sampling;
  sampling.temperature = FIB_TRY(number("temperature", {0.0, 2.0}, defaults.temperature));
  // OpenAI's API lets top_p be 0, and means the likeliest token alone.
  constexpr float kLeastTopP = 1e-6f;
  sampling.top_p = std::max(kLeastTopP, FIB_TRY(number("top_p", {0.0, 1.0}, defaults.top_p)));
  sampling.min_p = FIB_TRY(number("min_p", {0.0, 1.0}, 0.0f));
  sampling.repetition_penalty = FIB_TRY(number("repetition_penalty", {0.01, 10.0}, 1.0f));
  sampling.presence_penalty = FIB_TRY(number("presence_penalty", {-2.0, 2.0}, 0.0f));
  sampling.frequency_penalty = FIB_TRY(number("frequency_penalty", {-2.0, 2.0}, 0.0f));
  const auto top_k = FIB_TRY(fields.integer("top_k", {-1, INT32_MAX}));  // -1 as other servers: all
  sampling.top_k = top_k ? static_cast<int>(std::max<int64_t>(0, *top_k)) : defaults.top_k;
  sampling.ignore_eos = FIB_TRY(fields.boolean("ignore_eos")).value_or(false);
  sampling.logprobs = FIB_TRY(read_logprobs(api, fields));
  sampling.logit_bias = FIB_TRY(read_logit_bias(fields, context));
  sampling.stop = FIB_TRY(read_stop(fields));
  if (const Json* ids = fields.find("stop_token_ids")) {
    if (!ids->is_array()) return fail(wrong_type("stop_token_ids", "an array of tokens", *ids));
    sampling.stop_tokens = FIB_TRY(read_token_ids(*ids, "stop_token_ids", context));
  }
  return sampling;
}

// --- the whole

ApiResult<void> check_model(const JsonFields& fields, std::string_view model_id) {
  const std::string model = FIB_TRY(read_string(*FIB_TRY(fields.required("model")), "model"));
  if (model == model_id) return {};
  return fail(model_not_found(model, model_id));
}

ApiResult<bool> read_wants_usage(const JsonFields& fields, const GenerationCall& call) {
  const Json* json = fields.find("stream_options");
  if (!json) return false;
  if (!call.is_stream)
    return fail(invalid_value("stream_options", "only allowed where 'stream' is true."));
  const JsonFields options = FIB_TRY(JsonFields::of(*json, "stream_options", "stream_options."));
  FIB_CHECK(options.check_known(
      std::to_array<std::string_view>({"include_usage", "include_obfuscation"}), {}));
  FIB_CHECK(options.boolean("include_obfuscation"));  // ours is never padded
  return FIB_TRY(options.boolean("include_usage")).value_or(false);
}

ApiResult<std::optional<int64_t>> read_max_tokens(OpenAiApi api, const JsonFields& fields) {
  constexpr IntegerRange kRange{1, INT32_MAX};
  const auto max_tokens = FIB_TRY(fields.integer("max_tokens", kRange));
  if (api == OpenAiApi::kCompletions) return max_tokens;
  const auto max_completion_tokens = FIB_TRY(fields.integer("max_completion_tokens", kRange));
  if (max_tokens && max_completion_tokens)
    return fail(invalid_value("max_tokens", "'max_completion_tokens' says the same; send one."));
  return max_completion_tokens ? max_completion_tokens : max_tokens;
}

// The longest answer that the prompt leaves room for, or the one asked for.
ApiResult<int> tokens_to_generate(OpenAiApi api, size_t prompt_tokens,
                                  std::optional<int64_t> max_tokens,
                                  const RequestContext& context) {
  const std::string_view param = api == OpenAiApi::kChat ? "messages" : "prompt";
  const int context_length = context.defaults.context_length;
  if (prompt_tokens == 0) return fail(invalid_value(param, "no tokens in it."));
  const int64_t room = context_length - static_cast<int64_t>(prompt_tokens);
  if (room < max_tokens.value_or(1))
    return fail(too_long(prompt_tokens, max_tokens, context_length, param));
  if (max_tokens) return static_cast<int>(*max_tokens);
  return static_cast<int>(
      api == OpenAiApi::kChat ? room : std::min<int64_t>(room, kCompletionsDefaultTokens));
}

}  // namespace

ApiResult<GenerationCall> parse_generation_call(OpenAiApi api, std::string_view body,
                                                const RequestContext& context) {
  const auto json = parse_json(body, "request body");
  if (!json)
    return fail(ApiError{.message = fmt::format("We could not parse the JSON body of your request: "
                                                "{}",
                                                json.error().to_string()),
                         .code = "invalid_json"});
  const JsonFields fields = FIB_TRY(JsonFields::of(*json, "body", ""));
  FIB_CHECK(fields.check_known(known_fields(api), unsupported_fields(api)));
  FIB_CHECK(check_model(fields, context.model_id));
  if (api == OpenAiApi::kChat && !context.chat_template)
    return fail(no_chats(context.chat_template.error()));

  GenerationCall call{.api = api};
  call.is_stream = FIB_TRY(fields.boolean("stream")).value_or(false);
  call.wants_usage_chunk = FIB_TRY(read_wants_usage(fields, call));
  call.choices_per_prompt =
      static_cast<int>(FIB_TRY(fields.integer("n", {1, kMostChoicesPerPrompt})).value_or(1));
  SamplingParams sampling = FIB_TRY(read_sampling(api, fields, context));
  const auto seed = FIB_TRY(fields.integer("seed", {}));
  const auto max_tokens = FIB_TRY(read_max_tokens(api, fields));

  std::vector<std::vector<TokenId>> prompts;
  if (api == OpenAiApi::kChat) {
    prompts.push_back(FIB_TRY(read_messages(*FIB_TRY(fields.required("messages")), context)));
  } else {
    prompts = FIB_TRY(read_prompts(*FIB_TRY(fields.required("prompt")), context));
  }
  const size_t num_choices = prompts.size() * static_cast<size_t>(call.choices_per_prompt);
  if (num_choices > kMostChoices)
    return fail(invalid_value(
        "n", fmt::format("{} prompts times n is more than {}.", prompts.size(), kMostChoices)));
  if (num_choices > context.defaults.max_queued)
    return fail(invalid_value(
        call.choices_per_prompt > 1 ? "n" : "prompt",
        fmt::format("that is {} choices, and this server's queue takes {} at a time.", num_choices,
                    context.defaults.max_queued)));
  for (std::vector<TokenId>& prompt : prompts) {
    sampling.max_tokens = FIB_TRY(tokens_to_generate(api, prompt.size(), max_tokens, context));
    for (int choice = 0; choice < call.choices_per_prompt; ++choice) {
      // The choices of one prompt must differ; equal prompts of a request without seed, too.
      sampling.seed = seed ? static_cast<uint64_t>(*seed) + static_cast<uint64_t>(choice)
                           : context.fallback_seed + call.requests.size();
      call.requests.push_back({.prompt = prompt, .sampling = sampling});
    }
  }
  return call;
}

}  // namespace fib
