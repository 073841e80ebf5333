"""The official openai client against the server over the model of bytes.

    openai_client_test.py SERVER_PROGRAM
"""

import asyncio
import sys
import unittest

import openai

from fake_server import FakeServer

PROGRAM = sys.argv.pop(1)
KEY = "sk-test"


class OpenAiClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(FakeServer(PROGRAM, KEY))
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key=KEY, max_retries=0)

    def complete(self, prompt, **options):
        return self.client.completions.create(model="bytes", prompt=prompt, **options)

    def chat(self, *contents, **options):
        messages = [{"role": "user", "content": content} for content in contents]
        return self.client.chat.completions.create(model="bytes", messages=messages, **options)

    def test_models(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["bytes"])
        self.assertEqual(self.client.models.retrieve("bytes").created, 1700000000)

    def test_completion(self):
        answer = self.complete("grün", max_tokens=10)
        self.assertEqual(answer.choices[0].text, "grün")
        self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertEqual(answer.usage.prompt_tokens, 5)
        self.assertEqual(answer.usage.total_tokens, 10)
        self.assertEqual(answer.usage.prompt_tokens_details.cached_tokens, 2)

    def test_completion_of_several_prompts(self):
        answer = self.complete(["a", "bc"], n=2)
        self.assertEqual([choice.text for choice in answer.choices], ["a", "a", "bc", "bc"])
        self.assertEqual(self.complete([[104, 105], [106]]).choices[1].text, "j")

    def test_completion_logprobs(self):
        logprobs = self.complete("ab", logprobs=2).choices[0].logprobs
        self.assertEqual(logprobs.tokens, ["a", "b"])
        self.assertEqual(logprobs.token_logprobs, [-0.5, -0.5])
        self.assertEqual(logprobs.top_logprobs[1], {"b": -0.5, "c": -1.5})
        self.assertEqual(logprobs.text_offset, [0, 1])

    def test_completion_stream(self):
        chunks = list(self.complete("straße", stream=True, max_tokens=5,
                                    stream_options={"include_usage": True}))
        self.assertEqual("".join(c.choices[0].text for c in chunks[:-1]), "stra\ufffd")
        self.assertEqual(chunks[-2].choices[0].finish_reason, "length")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage.completion_tokens, 5)

    def test_chat(self):
        answer = self.chat("hello", max_completion_tokens=5)
        self.assertEqual(answer.object, "chat.completion")
        self.assertEqual(answer.choices[0].message.role, "assistant")
        self.assertEqual(answer.choices[0].message.content, "user")  # the template's first token
        self.assertEqual(answer.choices[0].finish_reason, "length")

    def test_chat_stream(self):
        chunks = list(self.chat("hello", stream=True, stop=["\n"], logprobs=True, top_logprobs=1))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        self.assertEqual(text, "user")
        tokens = [entry.token for chunk in chunks if chunk.choices[0].logprobs
                  for entry in chunk.choices[0].logprobs.content]
        self.assertEqual(tokens, ["<|im_start|>", "u", "s", "e", "r"])
        self.assertEqual(chunks[-1].choices[0].finish_reason, "stop")

    def test_extensions(self):
        answer = self.complete("ab", max_tokens=5, seed=7, logit_bias={"5": 1},
                               extra_body={"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2,
                                           "ignore_eos": True, "stop_token_ids": [1]})
        self.assertEqual(answer.choices[0].text, "ababa")

    def test_errors(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.complete("x", extra_body={"colour": "red"})
        self.assertEqual(caught.exception.param, "colour")
        self.assertEqual(caught.exception.code, "unknown_parameter")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.complete("x", max_tokens=5000)
        self.assertEqual(caught.exception.code, "context_length_exceeded")
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat("x", tools=[{"type": "function", "function": {"name": "f"}}])
        self.assertEqual(caught.exception.code, "unsupported_parameter")
        with self.assertRaises(openai.NotFoundError):
            self.client.completions.create(model="gpt-5", prompt="x")
        with self.assertRaises(openai.AuthenticationError):
            self.client.with_options(api_key="wrong").models.list()
        with self.assertRaises(openai.RateLimitError):
            self.complete("?x")
        with self.assertRaises(openai.InternalServerError):
            self.complete("!x")

    def test_an_error_in_a_stream(self):
        with self.assertRaises(openai.APIError) as caught:
            list(self.complete("!x", stream=True))
        self.assertIn("a kernel failed", str(caught.exception))

    def test_many_at_once(self):
        async def ask_all():
            async with openai.AsyncOpenAI(base_url=self.server.url + "/v1", api_key=KEY,
                                          max_retries=0) as client:
                prompts = [f"prompt {i}" for i in range(40)]
                answers = await asyncio.gather(*(
                    client.completions.create(model="bytes", prompt=prompt) for prompt in prompts))
                self.assertEqual([answer.choices[0].text for answer in answers], prompts)

        asyncio.run(ask_all())

    def test_leaving_a_stream(self):
        endless = {"ignore_eos": True}
        with self.complete("ab", stream=True, max_tokens=4000, extra_body=endless) as stream:
            self.assertEqual(next(iter(stream)).choices[0].text, "a")
        self.assertEqual(self.complete("still here").choices[0].text, "still here")


if __name__ == "__main__":
    unittest.main()
