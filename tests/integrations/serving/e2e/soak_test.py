"""scripts/soak-serving for a few seconds, so that it works when it is needed.

    soak_test.py FIB CACHE SCRIPT
"""

import subprocess
import sys
import unittest

from fib_program import Server

SCRIPT = sys.argv.pop(1)


class Soak(unittest.TestCase):
    def test_a_short_one(self):
        with Server() as server:
            done = subprocess.run(
                [sys.executable, "-B", SCRIPT, server.url, "--clients", "40", "--seconds", "4",
                 "--questions", "12", "--pid", str(server.process.pid)],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("wrong answers                        0\n", done.stdout)


if __name__ == "__main__":
    unittest.main()
