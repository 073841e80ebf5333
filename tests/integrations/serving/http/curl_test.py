"""The server over the model of bytes, as curl sees it.

    curl_test.py SERVER_PROGRAM
"""

import json
import shutil
import subprocess
import sys
import unittest

from fake_server import FakeServer

PROGRAM = sys.argv.pop(1)
JSON = ["-H", "Content-Type: application/json"]


class Curl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = cls.enterClassContext(FakeServer(PROGRAM))

    def curl(self, path, *options, data=None):
        """Status and body."""
        done = subprocess.run(
            ["curl", "--silent", "--show-error", "--no-buffer", "--write-out", "\n%{http_code}",
             *options, *(["--data-binary", "@-"] if data is not None else []),
             self.server.url + path],
            input=data, stdout=subprocess.PIPE, check=True)
        body, _, status = done.stdout.rpartition(b"\n")
        return int(status), body.decode()

    def test_health(self):
        self.assertEqual(self.curl("/health"), (200, '{"status":"ok"}\n'))

    def test_metrics(self):
        status, body = self.curl("/metrics")
        self.assertEqual(status, 200)
        self.assertIn("# TYPE fib_time_to_first_token_seconds histogram\n", body)

    def test_chat_stream(self):
        request = {"model": "bytes", "messages": [{"role": "user", "content": "hi"}],
                   "stream": True, "max_tokens": 6}
        status, body = self.curl("/v1/chat/completions", *JSON, data=json.dumps(request).encode())
        self.assertEqual(status, 200)
        events = body.split("\n\n")
        self.assertEqual(events[-2:], ["data: [DONE]", ""])
        deltas = [json.loads(event[len("data: "):])["choices"][0]["delta"]
                  for event in events[:-2]]
        self.assertEqual("".join(delta.get("content", "") for delta in deltas), "user\n")

    def test_a_body_large_enough_to_ask_before_sending(self):
        request = {"model": "bytes", "prompt": "hi", "user": "x" * (2 << 20)}
        status, body = self.curl("/v1/completions", *JSON, data=json.dumps(request).encode())
        self.assertEqual((status, json.loads(body)["choices"][0]["text"]), (200, "hi"))

    def test_a_body_too_large(self):
        status, body = self.curl("/v1/completions", *JSON, data=b" " * (5 << 20))
        self.assertEqual((status, json.loads(body)["error"]["code"]), (413, "request_too_large"))

    def test_a_form_is_not_json(self):
        status, body = self.curl("/v1/completions", data=b"{}")
        self.assertEqual(status, 415)
        self.assertIn("Content-Type: application/json", json.loads(body)["error"]["message"])

    def test_bad_json_and_bad_utf8(self):
        for data in (b'{"model"', b'{"model": "\xff"}'):
            status, body = self.curl("/v1/completions", *JSON, data=data)
            self.assertEqual((status, json.loads(body)["error"]["code"]), (400, "invalid_json"))


if __name__ == "__main__":
    if not shutil.which("curl"):
        print("skipped: there is no curl")
        sys.exit(77)
    unittest.main()
