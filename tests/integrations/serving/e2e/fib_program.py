"""The fib program, and a server of it that stops when its context ends.

A test is started as TEST.py FIB CACHE; the kernels built on the way stay in CACHE.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys

FIB = sys.argv.pop(1)
ENVIRONMENT = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": sys.argv.pop(1)}
TINY_MODEL = (pathlib.Path(__file__).resolve().parents[4] /
              "integrations/serving/models/fib-tiny-moe")


def fib(*arguments, text=""):
    """The finished process."""
    return subprocess.run([FIB, *arguments], input=text, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, errors="surrogateescape",
                          env=ENVIRONMENT)


class Server:
    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [FIB, "serve", "--port", "0", "--json", "--kv-cache", "64M", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        self.announced = json.loads(self.process.stdout.readline())
        self.url = self.announced["url"]

    def stop(self):
        """Asks it to finish what it has; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        code = self.stop()
        self.process.stdout.close()
        if code != 0:
            raise RuntimeError(f"the server ended with {code}")
