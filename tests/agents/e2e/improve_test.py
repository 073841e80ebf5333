"""`fib agent run` makes plain kernels faster, and a search that was killed goes on where it stood.

    improve_test.py FIB CACHE
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

CACHE = sys.argv.pop()
FIB = sys.argv.pop()
SOLUTIONS = pathlib.Path(__file__).resolve().parents[1] / "solutions"
CANDIDATES = 40
KILLED_AFTER = 20
AT_LEAST = 2.0  # times as fast, by the lower end of the interval

# What being measured again as a winner changes about a candidate; its first figure is kept.
CONFIRMATION = ("speedup", "speedup_low", "speedup_high", "is_confirmed", "judged_speedup",
                "verdicts", "behaviour", "feedback", "device_s", "stage", "fate", "refusal",
                "timestamp")


class Search:
    """One run in a store of its own."""

    def __init__(self, folder, solution, signature, axis, sizes):
        self.store = folder / "store.sqlite"
        self.solution = SOLUTIONS / solution
        self.signature = signature
        self.workloads = folder / "workloads.jsonl"
        self.workloads.write_text("".join(
            json.dumps({"definition": signature,
                        "workload": {"uuid": f"{axis}-{size}", "axes": {axis: size},
                                     "inputs": {}}}) + "\n" for size in sizes))

    def command(self, *arguments):
        return [FIB, *arguments, "--json", "--store", self.store, "--cache", CACHE]

    def fib(self, *arguments):
        done = subprocess.run(self.command(*arguments), stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise AssertionError(f"fib {arguments}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def begin_and_kill(self):
        """Returns the numbers that were announced before the end."""
        process = subprocess.Popen(
            self.command("agent", "run", "--signature", self.signature, "--target", "cpu",
                         "--seeds", self.solution, "--proposer", "tune,mutate", "--seed", "7",
                         "--budget", str(CANDIDATES), "--workloads", self.workloads, "--quick"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
        announced = set()
        try:
            for row in map(json.loads, process.stdout):
                if "summary" in row:
                    break
                announced.add(row["number"])
                if len(announced) > KILLED_AFTER:
                    break
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            _, errors = process.communicate()
        if len(announced) <= KILLED_AFTER:
            raise AssertionError(f"ended by itself after {len(announced)} candidates: {errors}")
        return announced

    def candidates(self, run):
        """All that the archive has of each, by number."""
        tree = json.loads(self.fib("agent", "tree", str(run)))
        numbers = sorted(candidate["number"] for candidate in tree["candidates"])
        return {number: json.loads(self.fib("agent", "show", str(run), "--candidate", str(number)))
                for number in numbers}


class Improvement(unittest.TestCase):
    def search(self, *what):
        with tempfile.TemporaryDirectory() as folder:
            search = Search(pathlib.Path(folder), *what)
            announced = search.begin_and_kill()
            run, = json.loads(search.fib("agent", "list"))["runs"]
            self.assertEqual(run["state"], "stopped")
            before = search.candidates(run["run"])
            self.assertEqual(list(before), list(range(len(before))))
            self.assertLessEqual(announced, set(before))  # what was announced had been committed

            lines = search.fib("agent", "run", "--resume", str(run["run"])).splitlines()
            after = search.candidates(run["run"])
        self.check_same(before, after)
        self.assertEqual(list(after), list(range(len(after))))
        # Each once, but a winner that is announced again when it is confirmed.
        resumed = dict.fromkeys(json.loads(line)["number"] for line in lines[:-1])
        self.assertEqual([number for number in resumed if number not in before],
                         list(range(len(before), len(after))))
        self.assertEqual({candidate["proposer"] for candidate in after.values()},
                         {"seed", "tune", "mutate"})

        summary = json.loads(lines[-1])["summary"]
        self.assertEqual(summary["state"], "finished")
        self.assertLessEqual(summary["spent"]["candidates"], CANDIDATES)
        self.assertTrue(summary["best"]["is_confirmed"], summary)
        self.assertGreaterEqual(summary["best"]["speedup_low"], AT_LEAST, summary)

    def check_same(self, before, after):
        for number, was in before.items():
            now = dict(after[number])
            if now["stage"] == "confirmed" != was["stage"]:
                self.assertEqual(now["judged_speedup"], was["speedup"])
                for field in CONFIRMATION:
                    was.pop(field, None)
                    now.pop(field, None)
            self.assertEqual(was, now)

    def test_rmsnorm(self):
        self.search("rmsnorm-open", "rmsnorm_h256", "batch_size", (16, 256))

    def test_experts(self):
        self.search("moe-int4-open", "moe_int4_g32_topk4_e32_h256_i128", "num_tokens", (2, 32))


if __name__ == "__main__":
    unittest.main()
