"""The files of a checkout, read once, and what the house rules ask of their text."""

import re
import subprocess
from pathlib import Path

ROOMS = ("signatures", "reference", "workloads", "harness", "runners", "leaderboard", "agents",
         "integrations", "tests")
DATA_FOLDERS = re.compile(
    r"leaderboard/solutions/|tests/(.*/)?(fixtures|exploits|consumers|solutions|(\w+_)?candidates)/")
CPP_SUFFIXES = (".h", ".hpp", ".cpp")
CODE_SUFFIXES = CPP_SUFFIXES + (".cu", ".cuh", ".py", ".js", ".css", ".html", ".sh", ".cmake")

# Comments and literals, in the order in which they must be tried.
_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|(?<!\w)(?:u8|[uUL])?R"(?P<tag>[^()\\\s]{0,16})\(.*?\)(?P=tag)"'
    r'|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])*\'', re.DOTALL)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"]', re.MULTILINE)


def strip_literals(text):
    """C++ without its comments and literals; line numbers stay."""
    return _TOKEN.sub(lambda match: "\n" * match.group().count("\n") or " ", text)


class SourceFile:
    def __init__(self, root, path):
        self.path = path  # relative to the root, with forward slashes
        self.suffix = Path(path).suffix
        self.room = path.split("/")[0]
        self.bytes = (root / path).read_bytes()
        self.is_text = b"\0" not in self.bytes[:8192]
        self.text = self.bytes.decode("utf-8", errors="replace") if self.is_text else ""

    def is_cpp(self):
        return self.suffix in CPP_SUFFIXES

    def is_data(self):
        """Sources of candidates and fixtures of tests: no part of the build, they follow no rule
        of its sources."""
        return DATA_FOLDERS.match(self.path) is not None

    def includes(self):
        """(line, bracket, name) of each #include outside comments and raw strings."""
        kept = _TOKEN.sub(lambda match: match.group() if match.group()[0] == '"' else
                          "\n" * match.group().count("\n"), self.text)
        for match in _INCLUDE.finditer(kept):
            yield kept.count("\n", 0, match.start()) + 1, match.group(1), match.group(2)

    def matches(self, pattern, text=None):
        """(line, match) of each hit of a compiled pattern."""
        text = self.text if text is None else text
        for match in pattern.finditer(text):
            yield text.count("\n", 0, match.start()) + 1, match


class Tree:
    def __init__(self, root):
        self.root = Path(root)
        self.paths = sorted(path for path in self._list() if (self.root / path).is_file())
        self.known = set(self.paths)
        self.files = [SourceFile(self.root, path) for path in self.paths]

    def _list(self):
        if (self.root / ".git").exists():
            listing = subprocess.run(
                ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
                 "--exclude-standard"], cwd=self.root, check=True, capture_output=True).stdout
            return [path.decode() for path in listing.split(b"\0") if path]
        return [path.relative_to(self.root).as_posix() for path in self.root.rglob("*")
                if path.relative_to(self.root).parts[0] not in ("build", ".cache")]
