"""Which kernels serve the bundled model: shown, chosen, and exchanged while it answers."""

import json
import pathlib
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from fib_program import Server, fib

MODEL = "fib-tiny-moe"
PATIENCE_S = 0.05  # between two looks at what must come


def ask(url, data=None):
    """The answer's JSON, also of errors, with the status."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def complete(server, **options):
    status, answer = ask(server.url + "/v1/completions",
                         {"model": MODEL, "prompt": "The old house stood", "max_tokens": 40,
                          "seed": 7, **options})
    assert status == 200, answer
    return answer["choices"][0]["text"]


class Kernels(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        done = fib("kernels", "--into", folder, "--json")
        assert done.returncode == 0, done.stderr
        cls.shown = json.loads(done.stdout)
        cls.package = cls.shown["package"]

    def test_a_package_is_shown(self):
        names = [signature["name"] for signature in self.shown["manifest"]["signatures"]]
        self.assertIn("argmax_v4096", names)
        self.assertEqual(pathlib.Path(self.package).name, self.shown["package"].split("/")[-1])
        done = fib("kernels", self.package)
        self.assertEqual(done.returncode, 0)
        self.assertIn("argmax-lanes", done.stdout)
        self.assertIn("Apache-2.0", done.stdout)

    def test_what_is_no_package_is_said(self):
        for command in (["kernels"], ["chat", "--kernels"]):
            done = fib(*command, "/nowhere")
            self.assertEqual(done.returncode, 2)
            self.assertIn("/nowhere", done.stderr)

    def test_packages_and_the_house_give_the_same_answers(self):
        texts = set()
        for kernels in ([], ["--kernels", self.package], ["--kernels", "house"]):
            with Server(*kernels) as server:
                texts.add((complete(server), complete(server, temperature=0)))
        self.assertEqual(len(texts), 1)

    def test_an_exchange_under_load(self):
        with Server("--kernels", "house") as server:
            wanted = complete(server)
            answers, is_done = [], threading.Event()

            def keep_asking():
                while not is_done.is_set():
                    answers.append(complete(server))

            threads = [threading.Thread(target=keep_asking) for _ in range(4)]
            for thread in threads:
                thread.start()
            kernels = server.url + "/fib/kernels"
            self.assertEqual(ask(kernels)[1]["package"], "house")
            self.assertEqual(ask(kernels, {"package": self.package})[0], 202)
            while ask(kernels)[1]["state"] not in ("serving", "rolled back") or (
                    ask(kernels)[1]["package"] == "house"):
                self.assertNotEqual(ask(kernels)[1]["state"], "rolled back")
                time.sleep(PATIENCE_S)
            is_done.set()
            for thread in threads:
                thread.join()
            self.assertEqual(set(answers), {wanted})
            self.assertGreater(len(answers), 4)
            self.assertEqual(ask(kernels)[1]["package"], self.package)
            done = fib("kernels", "--url", server.url)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("moe-int4-grouped", done.stdout)

    def test_what_cannot_be_loaded_leaves_everything_as_it_is(self):
        with tempfile.TemporaryDirectory() as folder, Server() as server:
            kernels = server.url + "/fib/kernels"
            before = ask(kernels)[1]["package"]
            status, answer = ask(kernels, {"package": "/nowhere"})
            self.assertEqual((status, answer["error"]["code"]), (400, "no_such_package"))
            self.assertEqual(ask(kernels, {"package": folder})[0], 202)
            while ask(kernels)[1]["state"] == "loading":
                time.sleep(PATIENCE_S)
            after = ask(kernels)[1]
            self.assertEqual(after["state"], "rolled back")
            self.assertIn("is no kernel package", after["reason"])
            self.assertEqual(after["package"], before)
            complete(server)


if __name__ == "__main__":
    unittest.main()
