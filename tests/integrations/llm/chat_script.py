"""A scripted model's answers about the solution rmsnorm-open, and the endpoint that gives them."""

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[3]
SEED = ROOT / "tests/agents/solutions/rmsnorm-open"
SERVER = ROOT / "tests/agents/proposers/llm/scripted_chat_server.py"

PLAIN = (SEED / "solution.cpp").read_text()


def block(name, source=PLAIN):
    """The lines between a block's marks."""
    return source.split(f"// fib:block {name}\n")[1].split(f"  // fib:end {name}\n")[0]


SQUARES, OUTPUT = block("squares"), block("output")
SQUARES_LANES = (SEED / "variations/squares_lanes.inc").read_text()
OUTPUT_LANES = (SEED / "variations/output_lanes.inc").read_text()


def patch(path, search, replacement):
    return f"```patch {path}\n<<<<<<< SEARCH\n{search}=======\n{replacement}>>>>>>> REPLACE\n```\n"


def whole(source):
    return f"```file solution.cpp\n{source}```\n"


# Whole files, but for the first: what follows may be asked about another parent.
VECTORS = ("The sum of squares is a chain of dependent additions.\n\n"
           "NOTE: sums squares in vectors, because each addition waits for the one before\n" +
           patch("solution.cpp", SQUARES, SQUARES_LANES))
MISTAKEN = ("NOTE: scales in vectors, because the loop isn't vectorised\n" +
            patch("solution.cpp", OUTPUT.replace("  for", "for"), OUTPUT_LANES))
REPAIRED = ("NOTE: scales in vectors, because the loop isn't vectorised\n" +
            whole(PLAIN.replace(OUTPUT, OUTPUT_LANES)))
DECLINED = "I'm sorry, but I can't help with changing this code."
ESCAPING = "NOTE: takes a look around\n```new ../../board.h\nint x;\n```\n"
AGAIN = "NOTE: nothing left to improve\n" + whole(PLAIN)
CHEATING = ("NOTE: leaves the weights out, because multiplications cost time\n" +
            whole(PLAIN.replace(" * widen(weight[i])", "")))
BROKEN = ("NOTE: unrolls\n" +
          whole(PLAIN.replace("  return 0;\n", "  return zero;\n")))

STEPS = [
    {"status": 429, "headers": {"Retry-After": "1"},
     "error": {"message": "Rate limit reached for scripted-1", "code": "rate_limit_exceeded"}},
    {"content": VECTORS},
    {"content": MISTAKEN, "repair": {"content": REPAIRED}},
    {"content": DECLINED, "repair": {"content": DECLINED}},
    {"content": ESCAPING, "repair": {"content": ESCAPING}},
    {"content": AGAIN},
    {"status": 500, "error": {"message": "The server had an error"}},
    {"content": CHEATING, "cut": 100},
    {"content": CHEATING},
    {"raw": "<html>Welcome to the proxy</html>", "content_type": "text/html"},
    {"content": BROKEN, "usage": None},
]
CANDIDATES = 8  # that the steps are enough for
ANSWERS = 10    # that they come to, with those to complaints


class ChatServer:
    """The scripted endpoint, as a context."""

    def __init__(self, key="a-secret"):
        self.key = key
        self._folder = tempfile.TemporaryDirectory()
        folder = pathlib.Path(self._folder.name)
        (folder / "script.json").write_text(json.dumps({
            "key": key, "steps": STEPS, "otherwise": {"content": DECLINED}}))
        self._log = folder / "log.jsonl"
        self._process = subprocess.Popen(
            [sys.executable, "-B", SERVER, folder / "script.json", self._log],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}/v1"

    def requests(self):
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._folder.cleanup()
