#!/usr/bin/env python3
"""`fib agent run --proposer llm`: against the scripted endpoint, and against `fib serve`.

    agent_llm_test.py FIB CACHE
"""

import collections
import json
import pathlib
import sqlite3
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.append(str(ROOT / "tests/integrations/serving/e2e"))

import chat_script  # noqa: E402
import fib_program  # noqa: E402

fib_program.ENVIRONMENT["no_proxy"] = "127.0.0.1"


class Llm(unittest.TestCase):
    def setUp(self):
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.folder = pathlib.Path(self._folder.name)
        self.store = self.folder / "store.db"

    def run_agent(self, url, candidates, *arguments, key=""):
        fib_program.ENVIRONMENT["CHAT_KEY"] = key
        return fib_program.fib(
            "--store", str(self.store), "agent", "run", "--signature", "rmsnorm_h64", "--target",
            "cpu", "--seeds", str(chat_script.SEED), "--proposer", "llm", "--budget",
            f"{candidates}", "--quick", "--limit", "2", "--llm-url", url, "--llm-key-env",
            "CHAT_KEY", *arguments)

    def records(self):
        with sqlite3.connect(self.store) as store:
            rows = store.execute("SELECT document FROM candidates ORDER BY number")
            return [record for record in (json.loads(row[0]) for row in rows)
                    if record["proposer"] == "llm"]

    def exchanges(self):
        with sqlite3.connect(self.store) as store:
            return store.execute(
                "SELECT number, role, content FROM exchanges JOIN candidates "
                "ON candidates.id = candidate_id ORDER BY number, position").fetchall()

    def test_scripted(self):
        with chat_script.ChatServer() as server:
            done = self.run_agent(server.url, chat_script.CANDIDATES, "--llm-model",
                                  "scripted-1", "--llm-samples", "1", "--llm-price-in", "2",
                                  "--llm-price-out", "10", key=server.key)
            self.assertEqual(done.returncode, 0, done.stderr)
            requests = server.requests()
        records = self.records()
        self.assertEqual(len(records), chat_script.CANDIDATES, done.stdout)
        fates = collections.Counter(record["fate"] for record in records)
        reasons = collections.Counter(
            record["refusal"]["reason"] for record in records if record["fate"] == "refused")
        # The seed again: of it that is the parent unchanged, of another one that was tried before.
        again = reasons.pop("unchanged", 0) + reasons.pop("tried-before", 0)
        self.assertEqual((reasons, again), ({"malformed": 1, "path": 1, "endpoint": 1}, 1))
        self.assertEqual(fates["failed"], 2, records)
        # The two good ones: how fast they are is this machine's business.
        self.assertEqual(fates["measured"] + fates["slow"] + fates["duplicate"], 2, records)

        roles = collections.Counter(role for _, role, _ in self.exchanges())
        answers = chat_script.ANSWERS
        self.assertEqual(roles["assistant"], answers)
        self.assertEqual(roles["usage"], answers)
        self.assertEqual(roles["error"], 4)  # 429, 500, the cut connection, and what isn't JSON
        self.assertEqual(len(requests), answers + roles["error"])
        money = sum(record["cost"]["money"] for record in records)
        counted = answers - 1  # at 1000 and 100 tokens; one is estimated
        self.assertGreater(money, counted * 0.003)
        for place in (done.stdout, done.stderr, json.dumps(records), str(self.exchanges())):
            self.assertNotIn(server.key, place)

    def test_a_wrong_key_ends_the_run(self):
        with chat_script.ChatServer() as server:
            done = self.run_agent(server.url, 20, "--llm-model", "scripted-1", key="another")
            self.assertEqual(done.returncode, 3, done.stdout)
            self.assertIn("CHAT_KEY", done.stderr)
            done = self.run_agent(server.url, 20, "--llm-model", "scripted-2", key=server.key)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn("scripted-2", done.stderr)

    def test_options_are_checked_first(self):
        for arguments, expected in (
                ([], "--llm-model"),
                (["--llm-model", "m", "--llm-body", "[]"], "--llm-body"),
                (["--llm-model", "m", "--llm-body", "{"], "--llm-body"),
                (["--llm-model", "m", "--llm-prompts", str(self.folder)], "target-cpu.md")):
            done = self.run_agent("http://127.0.0.1:9", 5, *arguments)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(expected, done.stderr)
        done = self.run_agent("ftp://example.com", 5, "--llm-model", "m")
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertIn("ftp://example.com", done.stderr)

    def test_fib_serve(self):
        """A tiny model talks nonsense: counted, and no more than that."""
        prompts = self.folder / "prompts"
        prompts.mkdir()
        for name, text in (("system", "Write kernels."), ("propose", "Improve {{parent_name}}."),
                           ("repair", "{{complaint}}"), ("target-cpu", ""), ("target-cuda", ""),
                           ("directions", "- Be quick.")):
            (prompts / f"{name}.md").write_text(text + "\n")
        with fib_program.Server() as server:
            done = self.run_agent(server.url + "/v1", 4, "--llm-model",
                                  server.announced["model"], "--llm-max-tokens", "24",
                                  "--llm-prompts", str(prompts))
        self.assertEqual(done.returncode, 0, done.stderr)
        records = self.records()
        self.assertEqual(len(records), 4, done.stdout)
        for record in records:
            self.assertEqual(record["refusal"]["reason"], "malformed", record)
            self.assertGreater(record["cost"]["prompt_tokens"], 10)
            self.assertLessEqual(record["cost"]["answer_tokens"], 48)


if __name__ == "__main__":
    unittest.main()
