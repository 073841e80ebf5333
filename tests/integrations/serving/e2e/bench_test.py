"""fib bench --json on the bundled model."""

import json
import unittest

from fib_program import fib


class Bench(unittest.TestCase):
    def test_has_a_row_a_batch(self):
        done = fib("bench", "--json", "--kv-cache", "64M", "--batch", "1", "4", "--prompt-tokens",
                   "16", "--output-tokens", "16")
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual(report["model"], "fib-tiny-moe")
        self.assertEqual([row["batch"] for row in report["batches"]], [1, 4])
        for row in report["batches"]:
            for figure in ("decode_tokens_per_s", "step_ms", "host_ms_per_step", "bytes_per_step",
                           "bandwidth_gbps", "prefill_tokens_per_s"):
                self.assertGreater(row[figure], 0, figure)

    def test_more_tokens_than_the_model_has_positions(self):
        done = fib("bench", "--max-model-len", "99999")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--max-model-len", done.stderr)
        self.assertIn("4096", done.stderr)

    def test_a_model_that_is_not_there(self):
        done = fib("bench", "no-such-model")
        self.assertEqual(done.returncode, 2)
        self.assertIn("fib-tiny-moe", done.stderr, "the bundled ones are named")


if __name__ == "__main__":
    unittest.main()
