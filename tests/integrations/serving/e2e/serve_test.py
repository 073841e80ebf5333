"""fib serve on the bundled model, as curl sees it."""

import json
import shutil
import subprocess
import sys
import unittest

from fib_program import Server

MODEL = "fib-tiny-moe"


def curl_command(url, data):
    return ["curl", "--silent", "--show-error", "--fail-with-body", "--no-buffer", "--max-time",
            "200", *(["--json", json.dumps(data)] if data is not None else []), url]


class Serve(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(Server())

    def curl(self, path, data=None):
        done = subprocess.run(curl_command(self.server.url + path, data), stdout=subprocess.PIPE,
                              text=True)
        return done.stdout

    def complete(self, prompt, **options):
        return json.loads(self.curl("/v1/completions", {"model": MODEL, "prompt": prompt,
                                                          **options}))

    def test_says_what_it_serves(self):
        self.assertEqual(self.server.announced["model"], MODEL)
        self.assertEqual(self.server.announced["target"], "cpu")
        self.assertGreater(self.server.announced["kv_cache_tokens"], 4096)
        self.assertTrue(self.server.url.startswith("http://127.0.0.1:"))
        models = json.loads(self.curl("/v1/models"))
        self.assertEqual([model["id"] for model in models["data"]], [MODEL])

    def test_greedy_answers_repeat_and_streams_say_the_same(self):
        options = {"max_tokens": 24, "temperature": 0}
        answer = self.complete("It was a dark night, and", **options)
        text = answer["choices"][0]["text"]
        self.assertGreater(len(text), 24)
        self.assertEqual(self.complete("It was a dark night, and", **options)["choices"][0]["text"],
                         text)
        stream = self.curl("/v1/completions",
                           {"model": MODEL, "prompt": "It was a dark night, and",
                            "stream": True, **options})
        events = [line[len("data: "):] for line in stream.splitlines() if line]
        self.assertEqual(events[-1], "[DONE]")
        self.assertEqual("".join(json.loads(event)["choices"][0]["text"] for event in events[:-1]),
                         text)

    def test_a_seed_repeats_a_sample(self):
        first, again, other = (
            self.complete("The sea", max_tokens=24, temperature=1, seed=seed)["choices"][0]["text"]
            for seed in (1, 1, 2))
        self.assertEqual(first, again)
        self.assertNotEqual(first, other)

    def test_a_prompt_over_the_limit(self):
        error = self.complete([5] * 4096, max_tokens=1)["error"]
        self.assertEqual(error["code"], "context_length_exceeded")
        self.assertIn("4096", error["message"])

    def test_counts_what_it_does(self):
        self.complete("One", max_tokens=3, ignore_eos=True)
        lines = self.curl("/metrics").splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        self.assertTrue(any("moe_int4_g32" in name and float(value) > 0
                            for name, value in values.items()), lines)

    def test_sigterm_lets_those_who_are_there_finish(self):
        server = Server()
        self.addCleanup(server.process.wait)
        self.addCleanup(server.process.kill)
        request = {"model": MODEL, "prompt": "Once", "max_tokens": 200, "temperature": 0,
                   "ignore_eos": True, "stream": True,
                   "stream_options": {"include_usage": True}}
        with subprocess.Popen(curl_command(server.url + "/v1/completions", request),
                              stdout=subprocess.PIPE, text=True) as curl:
            self.assertTrue(curl.stdout.readline().startswith("data: "))
            self.assertEqual(server.stop(), 0)
            events = [line for line in curl.stdout.read().splitlines() if line]
        server.process.stdout.close()
        self.assertEqual(curl.returncode, 0)
        self.assertEqual(events[-1], "data: [DONE]")
        self.assertEqual(json.loads(events[-2][len("data: "):])["usage"]["completion_tokens"], 200)


if __name__ == "__main__":
    if not shutil.which("curl"):
        print("skipped: there is no curl")
        sys.exit(77)
    unittest.main()
