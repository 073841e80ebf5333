#include <gtest/gtest.h>

#include "integrations/serving/tokenizer/tokenizer.h"
#include "tests/integrations/serving/tokenizer/tiny_tokenizer.h"

namespace fib {
namespace {

using Messages = std::vector<ChatMessage>;

const Messages kTalk = {
    {"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Hello"}, {"user", "Bye"}};
const Messages kQuestion = {{"user", "Hi"}};

Json config_with(const Json& chat_template) {
  return {
      {"bos_token", "<s>"}, {"eos_token", {{"content", "</s>"}}}, {"chat_template", chat_template}};
}

ChatTemplate open(const Json& chat_template) {
  TinyFolder folder;
  folder.write("tokenizer_config.json", config_with(chat_template));
  auto opened = ChatTemplate::open(folder.path());
  EXPECT_TRUE(opened) << opened.error().to_string();
  return *opened;
}

std::string render(const ChatTemplate& chat, const Messages& messages) {
  const auto prompt = chat.render(messages);
  EXPECT_TRUE(prompt) << prompt.error().to_string();
  return prompt.value_or("");
}

void expect_refused(const ChatTemplate& chat, const Messages& messages, std::string_view part) {
  const auto prompt = chat.render(messages);
  ASSERT_FALSE(prompt);
  EXPECT_EQ(prompt.error().code, ErrorCode::kInvalidInput);
  EXPECT_NE(prompt.error().message.find(part), std::string::npos) << prompt.error().message;
}

// Templates as models have them, cut to what they are recognised by.
constexpr const char* kChatMl =
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + "
    "'\\n'}}{% endfor %}";
constexpr const char* kQwen25 =
    "{%- if messages[0]['role'] == 'system' %}{{- messages[0]['content'] }}{%- else %}"
    "{{- '<|im_start|>system\\nYou are Qwen. You help.<|im_end|>\\n' }}{%- endif %}";
constexpr const char* kQwen3 =
    "{%- set ns = namespace(last_query_index=messages|length - 1) %}{{- '<|im_start|>' }}"
    "{%- set content = content.split('</think>')[-1] %}{{- '<|im_end|>\\n' }}"
    "{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is false %}{{- '<think>\\n\\n' }}";
constexpr const char* kLlama2 =
    "{% if %}{{ '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' }}{{ bos_token + '[INST] ' + "
    "content.strip() + ' [/INST]' }}{{ ' ' + content.strip() + ' ' + eos_token }}";
constexpr const char* kLlama3 =
    "{% set content = bos_token + content %}{{ '<|start_header_id|>' + role + "
    "'<|end_header_id|>\\n\\n' + content | trim + '<|eot_id|>' }}";
constexpr const char* kMistral1 =
    "{{ bos_token }}{{ '[INST] ' + content + ' [/INST]' }}{{ ' ' + content + eos_token }}";
constexpr const char* kMistral3 =
    "{{ bos_token }}{% if loop.last and system_message %}{{ '[INST] ' + system_message + '\\n\\n' "
    "+ "
    "content + '[/INST]' }}{{ ' ' + content + eos_token }}";
constexpr const char* kMistral7 =
    "{{ bos_token }}{{ '[SYSTEM_PROMPT]' + content + '[/SYSTEM_PROMPT]' }}{{ '[INST]' + content + "
    "'[/INST]' }}";
constexpr const char* kGemma =
    "{{ bos_token }}{{ '<start_of_turn>' + role + '\\n' + content | trim + '<end_of_turn>\\n' }}";
// Zephyr's has line ends as they are.
constexpr const char* kZephyr =
    "{{ '<|user|>\n' + message['content'] + eos_token }}{{ '<|system|>\n' + message['content'] + "
    "eos_token }}{{ '<|assistant|>' }}";
constexpr const char* kTulu =
    "{{ bos_token }}{{ '<|user|>\n' + message['content'] + '\n' }}{{ '<|assistant|>\n' + "
    "message['content'] + eos_token + '\n' }}";
constexpr const char* kPhi3 =
    "{{ '<|user|>\\n' + content + '<|end|>\\n' }}{{ '<|assistant|>\\n' }}";
constexpr const char* kPhi4Mini =
    "{{ '<|' + message['role'] + '|>' + content + '<|end|>' }}{{ '<|assistant|>' }}";
constexpr const char* kPhi4 = "{{ '<|im_start|>user<|im_sep|>' + content + '<|im_end|>' }}";

struct Rendered {
  std::string name;
  const char* source;
  std::string kind;
  std::string talk;
};

const Rendered kRendered[] = {
    {"chatml", kChatMl, "chatml",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
     "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"llama2", kLlama2, "llama2",
     "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]"},
    {"llama3", kLlama3, "llama3",
     "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
     "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
     "<|start_header_id|>assistant<|end_header_id|>\n\n"},
    {"mistral_v1", kMistral1, "mistral",
     "<s>[INST] Be brief.\n\nHi [/INST] Hello</s>[INST] Bye [/INST]"},
    {"mistral_v3", kMistral3, "mistral",
     "<s>[INST] Hi[/INST] Hello</s>[INST] Be brief.\n\nBye[/INST]"},
    {"mistral_v7", kMistral7, "mistral",
     "<s>[SYSTEM_PROMPT]Be brief.[/SYSTEM_PROMPT][INST]Hi[/INST]Hello</s>[INST]Bye[/INST]"},
    {"gemma", kGemma, "gemma",
     "<s><start_of_turn>user\nBe "
     "brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
     "<start_of_turn>user\nBye<end_of_turn>\n<start_of_turn>model\n"},
    {"zephyr", kZephyr, "zephyr",
     "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n<|user|>\nBye</s>\n"
     "<|assistant|>\n"},
    {"tulu", kTulu, "tulu",
     "<s><|system|>\nBe brief.\n<|user|>\nHi\n<|assistant|>\nHello</s>\n<|user|>\nBye\n"
     "<|assistant|>\n"},
    {"phi4_mini", kPhi4Mini, "phi3",
     "<|system|>Be brief.<|end|><|user|>Hi<|end|><|assistant|>Hello<|end|><|user|>Bye<|end|>"
     "<|assistant|>"},
    {"phi4", kPhi4, "phi4",
     "<|im_start|>system<|im_sep|>Be brief.<|im_end|><|im_start|>user<|im_sep|>Hi<|im_end|>"
     "<|im_start|>assistant<|im_sep|>Hello<|im_end|><|im_start|>user<|im_sep|>Bye<|im_end|>"
     "<|im_start|>assistant<|im_sep|>"},
    {"chatml_with_bos", "{{ bos_token }}{{ '<|im_start|>' }}{{ '<|im_end|>' }}", "chatml",
     "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
     "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n"
     "<|im_start|>assistant\n"},
    {"phi3", kPhi3, "phi3",
     "<|system|>\nBe brief.<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\nHello<|end|>\n"
     "<|user|>\nBye<|end|>\n<|assistant|>\n"},
};

class ChatTemplates : public testing::TestWithParam<Rendered> {};

TEST_P(ChatTemplates, AreRecognisedAndRendered) {
  const ChatTemplate chat = open(GetParam().source);
  EXPECT_EQ(chat.name(), GetParam().kind);
  EXPECT_EQ(render(chat, kTalk), GetParam().talk);
  expect_refused(chat, {{"wizard", "x"}}, "'wizard'");
}

INSTANTIATE_TEST_SUITE_P(All, ChatTemplates, testing::ValuesIn(kRendered),
                         [](const auto& info) { return info.param.name; });

TEST(ChatTemplate, QwenSaysItsOwnSystemMessageWhereThereIsNone) {
  const ChatTemplate chat = open(kQwen25);
  EXPECT_EQ(
      render(chat, kQuestion),
      "<|im_start|>system\nYou are Qwen. You help.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
      "<|im_start|>assistant\n");
  EXPECT_TRUE(render(chat, kTalk).starts_with("<|im_start|>system\nBe brief.<|im_end|>\n"));
}

TEST(ChatTemplate, Qwen3ForgetsWhatItThoughtBefore) {
  const ChatTemplate chat = open(kQwen3);
  EXPECT_EQ(
      render(chat, {{"user", "1"}, {"assistant", "<think>\nhm\n</think>\n\none"}, {"user", "2"}}),
      "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\none<|im_end|>\n"
      "<|im_start|>user\n2<|im_end|>\n<|im_start|>assistant\n");
  // Since the last question thoughts are kept: a tool was asked in between.
  EXPECT_EQ(
      render(chat, {{"user", "1"},
                    {"assistant", "<think>\nhm\n</think>\n\ncall"},
                    {"tool", "7"},
                    {"tool", "8"}}),
      "<|im_start|>user\n1<|im_end|>\n<|im_start|>assistant\n<think>\nhm\n</think>\n\ncall"
      "<|im_end|>\n<|im_start|>user\n<tool_response>\n7\n</tool_response>\n<tool_response>\n8\n"
      "</tool_response><|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, Qwen3ThinkingOpensItsThoughts) {
  const ChatTemplate chat =
      open(std::string(kQwen3) + "{{- '<|im_start|>assistant\\n<think>\\n' }}");
  EXPECT_EQ(render(chat, kQuestion),
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>\n");
}

TEST(ChatTemplate, Llama31NamesDatesAlways) {
  const ChatTemplate chat = open(std::string(kLlama3) + "{{ 'Cutting Knowledge Date: ' }}");
  EXPECT_EQ(
      render(chat, {{"user", " Hi "}, {"tool", "7"}}),
      "<s><|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
      "Today Date: 26 Jul 2024\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi"
      "<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n7<|eot_id|>"
      "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(ChatTemplate, TurnsMustAlternateWhereTheModelWantsIt) {
  for (const char* source : {kLlama2, kMistral1, kGemma})
    expect_refused(open(source), {{"user", "a"}, {"user", "b"}}, "message 1");
}

TEST(ChatTemplate, WithoutOneIsPlainText) {
  const TinyFolder folder;  // has no tokenizer_config.json
  const auto chat = ChatTemplate::open(folder.path());
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->name(), "none");
  EXPECT_EQ(render(*chat, kTalk), "Be brief.\n\nHi\n\nHello\n\nBye");
  const auto bundled =
      ChatTemplate::open(FIB_SOURCE_DIR "/integrations/serving/models/fib-tiny-moe");
  ASSERT_TRUE(bundled);
  EXPECT_EQ(bundled->name(), "none");
}

TEST(ChatTemplate, TheNamedDefaultAndTheFileApartAreFound) {
  TinyFolder folder;
  folder.write("tokenizer_config.json",
               config_with({{{"name", "tool_use"}, {"template", kPhi3}},
                            {{"name", "default"}, {"template", kChatMl}}}));
  auto chat = ChatTemplate::open(folder.path());
  ASSERT_TRUE(chat) << chat.error().to_string();
  EXPECT_EQ(chat->name(), "chatml");
  folder.write_text("chat_template.jinja", kGemma);
  chat = ChatTemplate::open(folder.path());
  ASSERT_TRUE(chat) << chat.error().to_string();
  EXPECT_EQ(chat->name(), "gemma");
}

TEST(ChatTemplate, AnUnknownOneIsNamedUnsupported) {
  TinyFolder folder;
  // The second looks like Zephyr's, but is GLM's.
  for (const char* source : {"{{ 'Human: ' + content }}",
                             "[gMASK]<sop>{{ '<|user|>\\n' + content }}{{ '<|assistant|>' }}"}) {
    folder.write("tokenizer_config.json", config_with(source));
    const auto chat = ChatTemplate::open(folder.path());
    ASSERT_FALSE(chat) << source;
    EXPECT_EQ(chat.error().code, ErrorCode::kUnsupported);
    EXPECT_TRUE(chat.error().where.ends_with("/chat_template"));
    EXPECT_NE(chat.error().remedy.find("chatml"), std::string::npos);
  }
}

}  // namespace
}  // namespace fib
