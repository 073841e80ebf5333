#!/usr/bin/env python3
"""Writes docs/agents-llm-transcript.md: a run against the scripted endpoint, word for word.

    transcript.py FIB CACHE > docs/agents-llm-transcript.md
"""

import json
import pathlib
import sqlite3
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "serving/e2e"))

import chat_script  # noqa: E402
import fib_program  # noqa: E402

SHOWN_IN_FULL = 2  # candidates; the prompts of the others differ little

INTRODUCTION = """# A transcript of `llm`

A run of the proposer `llm` ([agents.md](agents.md#a-model-as-proposer-llm)) against the scripted endpoint of the tests, [`scripted_chat_server.py`](../tests/agents/proposers/llm/scripted_chat_server.py), which answers as [`chat_script.py`](../tests/integrations/llm/chat_script.py) tells it to: a rate limit and an answer, an answer that can't be taken and its repair, a model that declines, one that writes outside the solution, the same again, a server error, a cut connection, wrong numbers, a page that isn't an answer, and code that doesn't compile. Made by [`transcript.py`](../tests/integrations/llm/transcript.py); nothing is left out but what says so.
"""


def fenced(text):
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text.rstrip()}\n{fence}\n"


def quoted(role, content, is_known):
    if is_known:
        return f"**{role}**: as before.\n"
    return f"**{role}**\n\n{fenced(content)}"


def outcome(record):
    if record["fate"] == "refused":
        return f"refused as `{record['refusal']['reason']}`"
    return record["fate"] + (f": {record['refusal']['message'].splitlines()[0]}"
                             if record["refusal"]["message"] else "")


def main():
    fib_program.ENVIRONMENT.update({"no_proxy": "127.0.0.1"})
    with tempfile.TemporaryDirectory() as folder, chat_script.ChatServer() as server:
        store = pathlib.Path(folder) / "store.db"
        fib_program.ENVIRONMENT["CHAT_KEY"] = server.key
        arguments = ["agent", "run", "--signature", "rmsnorm_h64", "--target", "cpu", "--seeds",
                     str(chat_script.SEED.relative_to(chat_script.ROOT)), "--proposer", "llm",
                     "--budget", str(chat_script.CANDIDATES), "--llm-url", server.url,
                     "--llm-model", "scripted-1", "--llm-key-env", "CHAT_KEY",
                     "--llm-price-in", "2", "--llm-price-out", "10", "--in-flight", "1"]
        done = fib_program.fib("--store", str(store), *arguments)
        with sqlite3.connect(store) as database:
            records = [json.loads(row[0]) for row in
                       database.execute("SELECT document FROM candidates ORDER BY number")]
            exchanges = database.execute(
                "SELECT number, role, content FROM exchanges JOIN candidates "
                "ON candidates.id = candidate_id ORDER BY number, position").fetchall()
    print(INTRODUCTION)
    print(fenced("$ fib " + " ".join(arguments) + "\n" + done.stderr + done.stdout))
    known, in_full = set(), 0
    for record in records:
        said = [(role, content) for number, role, content in exchanges
                if number == record["number"]]
        if not said:
            continue
        print(f"## Candidate {record['number']}: {outcome(record)}\n")
        in_full += 1
        for role, content in said:
            is_long = role == "user" and content.startswith("# The signature")
            if is_long and in_full > SHOWN_IN_FULL:
                print("**user**: a question as the first two; left out.\n")
                continue
            print(quoted(role, content, (role, content) in known))
            if role in ("system", "user"):
                known.add((role, content))


if __name__ == "__main__":
    main()
