"""The circle closes: traffic, a submission, the board, a package, the engine on it.

    circle_test.py FIB CACHE
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

CACHE = sys.argv.pop()
FIB = sys.argv.pop()
SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "scripts/circle"
KERNEL = "gemm-bf16-panels"


class Circle(unittest.TestCase):
    def test_a_better_kernel_ends_up_serving(self):
        with tempfile.TemporaryDirectory() as folder:
            out = pathlib.Path(folder) / "circle"
            # 'fastest': what the machine's other work does to confirmations is no matter of this test.
            done = subprocess.run(
                [sys.executable, "-B", SCRIPT, FIB, out, "--cache", CACHE, "--requests", "12",
                 "--rows", "2", "--pairs", "2", "--block", "6", "--policy", "fastest"],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual(done.returncode, 0, done.stdout)
            report = json.loads((out / "circle.json").read_text())["ab"]
        self.assertEqual((report["failed_a"], report["failed_b"]), (0, 0))
        self.assertEqual(report["parity"]["requests"], 12)
        served_a, served_b = ({call["solution"] for call in report[side]}
                              for side in ("kernels_a", "kernels_b"))
        self.assertIn(KERNEL, served_b)
        self.assertNotIn(KERNEL, served_a)
        self.assertTrue(all(gain["signature"].startswith("gemm_bf16_n")
                            for gain in report["gains"]), report["gains"])
        self.assertGreater(report["predicted"], 1.0)

    def test_a_folder_that_is_not_empty_is_left_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "mine").touch()
            done = subprocess.run([sys.executable, "-B", SCRIPT, FIB, folder],
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("not empty", done.stdout)


if __name__ == "__main__":
    unittest.main()
