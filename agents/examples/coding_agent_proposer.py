#!/usr/bin/env python3
"""A proposer for `fib agent run`, made of any command-line coding agent that edits files.

  fib agent run ... --exec-home agent-home \\
    --proposer 'exec:agents/examples/coding_agent_proposer.py my-agent --allow-edits {prompt}'

The solution's files and the task in words, TASK.md, lie in the current folder; what the agent
changes there is the proposal. docs/agents.md describes the JSON that comes and goes.
"""

import json
import pathlib
import subprocess
import sys

PROMPT = ("Read TASK.md, then edit the files in this folder so that the kernel is faster and still "
          "right. Change one thing, and write into NOTE.txt in a line what you changed.")
SOURCES = {".cu", ".cuh", ".cpp", ".h", ".hpp", ".inc"}

request = json.load(sys.stdin)
files = request["parent"]["files"]
tried = [f"- {child['note']}: {child['outcome']}" for child in request["tried"]]
task = [request["contract"], f"Hardware: {request['hardware']} ({request['architecture']}).",
        f"Headers of the harness: {request['headers_folder']}",
        request["parent"].get("feedback_in_words", request["parent"]["outcome"]),
        "\n".join(["Tried before:", *tried])]
for path, content in {**files, "TASK.md": "\n\n".join(task)}.items():
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text(content)

# What the agent prints is for the record; stdout is the answer's.
command = [PROMPT if word == "{prompt}" else word for word in sys.argv[1:]]
subprocess.run(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=True)

found = {str(path): path.read_text() for path in pathlib.Path().rglob("*")
         if path.is_file() and (path.suffix in SOURCES or str(path) in files)}
changed = {path: found.get(path) for path in {**files, **found}
           if found.get(path) != files.get(path)}  # None: removed
note = pathlib.Path("NOTE.txt")
print(json.dumps({"files": changed, "note": note.read_text().strip()[:200] if note.exists() else ""}
                 if changed else {"refusal": "the agent changed nothing"}))
