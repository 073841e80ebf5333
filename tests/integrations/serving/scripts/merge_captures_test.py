"""scripts/merge_captures on captures made by hand. Argument: the script."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

SCRIPT = sys.argv.pop(1)
FILE = "rmsnorm/rmsnorm_h64.jsonl"


def row(uuid, rows, weight, source="a card", blob=None):
    inputs = {"hidden_states": {"type": "random"}}
    if blob:
        inputs["ids"] = {"type": "safetensors", "path": blob, "tensor_key": "ids"}
    fib = {"weight": weight} | ({"source": source} if source else {})
    return {"definition": "rmsnorm_h64", "solution": None, "evaluation": None,
            "workload": {"axes": {"batch_size": rows}, "inputs": inputs, "uuid": uuid, "fib": fib}}


class MergeCaptures(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def write(self, file, rows):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def capture(self, name, rows):
        folder = self.folder / name
        self.write(folder / "workloads" / FILE, rows)
        for given in rows:
            for value in given["workload"]["inputs"].values():
                if "path" in value:
                    (folder / value["path"]).parent.mkdir(parents=True, exist_ok=True)
                    (folder / value["path"]).write_text(name)
        return folder

    def merge(self, *arguments):
        subprocess.run([sys.executable, SCRIPT, *arguments[:-1], self.folder / "out", *arguments[-1]],
                       check=True, stdout=subprocess.DEVNULL)
        lines = (self.folder / "out" / FILE).read_text().splitlines()
        return [json.loads(line)["workload"] for line in lines]

    def test_equal_rows_become_one(self):
        merged = self.merge([self.capture("first", [row("a", 1, 10, "x")]),
                             self.capture("second", [row("a", 1, 5, "y"), row("b", 2, 1, "y")])])
        self.assertEqual([(w["uuid"], w["fib"]["weight"], w["fib"]["source"]) for w in merged],
                         [("a", 15, "x; y"), ("b", 1, "y")])

    def test_rows_that_are_left_out_count_for_the_nearest(self):
        captured = self.capture("one", [row("one", 1, 100, blob="./blob/one"),
                                        row("two", 2, 90, blob="./blob/two"),
                                        row("large", 500, 40, blob="./blob/large"),
                                        row("larger", 600, 30, blob="./blob/larger")])
        merged = self.merge("--rows", "2", [captured])
        self.assertEqual([(w["uuid"], w["fib"]["weight"]) for w in merged],
                         [("one", 190), ("large", 70)])
        self.assertEqual(sorted(file.name for file in (self.folder / "out/blob").iterdir()),
                         ["large", "one"])

    def test_inputs_of_earlier_captures_go_with_their_rows(self):
        folder = "blob/workloads/rmsnorm/rmsnorm_h64"
        for name in ("before", "after"):
            self.merge([self.capture(name, [row(name, 1, 1, blob=f"./{folder}/{name}.safetensors")])])
        self.assertEqual([file.name for file in (self.folder / "out" / folder).iterdir()],
                         ["after.safetensors"])

    def test_rows_written_by_hand_stay_if_asked(self):
        by_hand = self.folder / "out" / FILE
        captured = self.capture("one", [row("one", 1, 100)])
        for options, wanted in ((["--keep-written"], ["one", "by-hand"]), ([], ["one"])):
            self.write(by_hand, [row("recorded-before", 3, 1), row("by-hand", 64, 1, source=None)])
            self.assertEqual([w["uuid"] for w in self.merge(*options, [captured])], wanted)


if __name__ == "__main__":
    unittest.main()
