"""The official openai client against fib serve on the bundled model."""

import asyncio
import unittest

import openai

from fib_program import Server

KEY = "sk-test"
MODEL = "tiny"


class OpenAiClient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(
            Server("--api-key", KEY, "--served-model-name", MODEL, "--prefill", "layered",
                   "--cohort-tokens", "1024"))
        cls.client = openai.OpenAI(base_url=cls.server.url + "/v1", api_key=KEY, max_retries=0)

    def complete(self, prompt, **options):
        return self.client.completions.create(model=MODEL, prompt=prompt, **options)

    def test_completion_and_stream(self):
        options = {"max_tokens": 16, "temperature": 0}
        answer = self.complete("The old man", **options)
        self.assertEqual(answer.model, MODEL)
        self.assertEqual(answer.usage.completion_tokens, 16)
        chunks = self.complete("The old man", stream=True, **options)
        self.assertEqual("".join(chunk.choices[0].text for chunk in chunks),
                         answer.choices[0].text)

    def test_logprobs_of_the_likeliest_are_the_chosen_ones(self):
        logprobs = self.complete("The old man", max_tokens=8, temperature=0,
                                 logprobs=3).choices[0].logprobs
        for chosen, top in zip(logprobs.token_logprobs, logprobs.top_logprobs):
            self.assertEqual(chosen, max(top.values()))
            self.assertLess(chosen, 0)

    def test_chat(self):
        answer = self.client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "It was a dark night, and"}],
            max_completion_tokens=12, temperature=0)
        self.assertTrue(answer.choices[0].message.content)

    def test_several_answers(self):
        answer = self.complete("The sea", n=3, max_tokens=12, seed=5, temperature=1)
        self.assertEqual(len({choice.text for choice in answer.choices}), 3)

    def test_a_stop_text(self):
        whole = self.complete("The old man", max_tokens=16, temperature=0).choices[0].text
        stop = whole[len(whole) // 2:][:3]
        short = self.complete("The old man", max_tokens=16, temperature=0, stop=[stop]).choices[0]
        self.assertEqual(short.text, whole[:whole.index(stop)])
        self.assertEqual(short.finish_reason, "stop")

    def test_a_crowd_hears_what_each_would_hear_alone(self):
        prompts = [" ".join(["The", "old", "sea", "was", "dark"][:1 + i % 5] * (1 + i % 7))
                   for i in range(40)]
        options = {"max_tokens": 8, "temperature": 0}
        alone = [self.complete(prompt, **options).choices[0].text for prompt in prompts]

        async def ask_all():
            async with openai.AsyncOpenAI(base_url=self.server.url + "/v1", api_key=KEY,
                                          max_retries=0) as client:
                return await asyncio.gather(*(
                    client.completions.create(model=MODEL, prompt=prompt, **options)
                    for prompt in prompts))

        self.assertEqual([answer.choices[0].text for answer in asyncio.run(ask_all())], alone)

    def test_a_wrong_key(self):
        with self.assertRaises(openai.AuthenticationError):
            self.client.with_options(api_key="wrong").models.list()


if __name__ == "__main__":
    unittest.main()
