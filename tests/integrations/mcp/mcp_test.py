#!/usr/bin/env python3
"""`fib mcp` on stdin and stdout, through the official client of the Model Context Protocol.

    mcp_test.py FIB CACHE

Both eras of the protocol are spoken: the revision without a session, and the handshake before it.
"""

import json
import subprocess
import sys
import unittest

import anyio
from mcp import Client, MCPError, StdioServerParameters

from tools import FIB, MODES, SIGNATURE, ToolTest


class Session(ToolTest):
    def client(self, mode):
        return Client(StdioServerParameters(command=FIB, args=self.arguments), mode=mode)

    async def test_walk_without_a_session(self):
        async with self.client(MODES[0]) as client:
            await self.walk(client, MODES[0])

    async def test_walk_in_a_session(self):
        async with self.client(MODES[1]) as client:
            await self.walk(client, MODES[1])

    async def test_failures_are_explained(self):
        async with self.client("auto") as client:
            await self.call(client, "get_skeleton", signature=SIGNATURE, target="cpu",
                            folder="mine")
            source = self.folder / "root/mine/solution.cpp"
            good = source.read_text()
            source.write_text(good.replace("extern \"C\"", "extern \"C\" int broken\nextern \"C\""))
            checked = await self.call(client, "check", folder="mine")
            self.assertFalse(checked["compiles"])
            self.assertIn("solution.cpp", checked["builds"][0]["log"])
            profile = await self.call(client, "profile", folder="mine")
            self.assertEqual(profile["outcome"], "compile-error")
            self.assertEqual(profile["compile"]["messages"][0]["file"], "solution.cpp")
            self.assertEqual(profile["verdicts"], [], "what doesn't compile isn't measured")
            profile = await self.call(client, "profile", folder="mine", signature=SIGNATURE,
                                      against="house", counters=True)
            self.assertEqual(profile["counters"]["reason"], "it doesn't compile")
            self.assertEqual(profile["parent"]["diff"]["files"][0]["path"], "solution.cpp")

            source.write_text(good[:good.rindex("extern \"C\"")] +
                              "extern \"C\" int fib_run(const FibCall*) { return 0; }\n")
            report = await self.call(client, "submit", folder="mine", signature=SIGNATURE, limit=1,
                                     quick=True)
            self.assertEqual(report["passed"], 0)
            explained = await self.call(client, "explain_verdict", id=report["verdicts"][0]["id"])
            self.assertEqual(explained["status"], "INCORRECT_NUMERICAL")
            self.assertGreaterEqual(explained["outputs"][0]["first_bad_index"], 0)
            self.assertIn("the first at row-major index", explained["feedback"])
            self.assertIn("errors by size", explained["feedback"])
            for secret in ("seed", "max_", "config_key"):
                self.assertNotIn(secret, json.dumps(explained))

    async def test_compare(self):
        async with self.client("auto") as client:
            files = (await self.call(client, "get_skeleton", signature=SIGNATURE,
                                     target="cpu"))["files"]
            report = await self.call(client, "compare", files=files, signature=SIGNATURE,
                                     incumbent="house", limit=1, quick=True)
            self.assertEqual(report["pairs"][0]["workloads"], 1)
            self.assertGreater(report["pairs"][0]["speedup"], 0)
            self.assertIn("no such solution",
                          await self.trouble(client, "compare", files=files, incumbent="/etc"))

    async def test_profile_tells_what_a_change_did(self):
        async with self.client("auto") as client:
            files = (await self.call(client, "get_skeleton", signature=SIGNATURE,
                                     target="cpu"))["files"]
            report = await self.call(client, "submit", files=files, signature=SIGNATURE, limit=1,
                                     quick=True)
            parent = (await self.call(client, "explain_verdict",
                                      id=report["verdicts"][0]["id"]))["solution_key"]
            files["solution.cpp"] += "// changed\n"
            heard = []

            async def on_progress(done, total, message):
                heard.append((done, total, message))

            what = {"files": files, "signature": SIGNATURE, "limit": 1, "counters": True,
                    "against": parent}
            result = await client.call_tool("profile", what, progress_callback=on_progress)
            profile = result.structured_content
            self.assertEqual(profile["outcome"], "right", result.content)
            self.assertGreater(profile["resources"]["code_bytes"], 0)
            self.assertGreater(profile["parent"]["resources"]["code_bytes"], 0)
            self.assertGreater(profile["parent"]["speedup"], 0)
            self.assertEqual(profile["parent"]["diff"]["files"],
                             [{"path": "solution.cpp", "added": 1, "removed": 0}])
            self.assertIn("+// changed", profile["parent"]["diff"]["text"])
            self.assertIn("the target cuda only", profile["counters"]["reason"])
            self.assertEqual(len(profile["verdicts"]), 1)
            self.assertIn("## Against its parent", result.content[0].text)
            self.assertTrue(any(message.startswith("pair: ") for _, _, message in heard), heard)
            self.assertEqual({total for _, total, _ in heard}, {2}, "counters are a step too")
            self.assertIn("no such solution", await self.trouble(client, "profile", files=files,
                                                                 against="/etc"))

    async def test_cancel(self):
        for mode, tool in [(mode, tool) for mode in MODES for tool in ("submit", "profile")]:
            with self.subTest(mode=mode, tool=tool):
                async with self.client(mode) as client:
                    files = (await self.call(client, "get_skeleton", signature=SIGNATURE,
                                             target="cpu", name=f"late-{mode}-{tool}"))["files"]
                    started = anyio.Event()

                    async def on_progress(done, total, message):
                        started.set()

                    async def submit():
                        await client.call_tool(tool, {"files": files},
                                               progress_callback=on_progress)

                    async with anyio.create_task_group() as group:
                        group.start_soon(submit)
                        await started.wait()
                        # Answered while the other runs.
                        await self.call(client, "list_signatures", limit=1)
                        group.cancel_scope.cancel()
                    # The next slow call waits for the end of the cancelled one only.
                    self.assertTrue((await self.call(client, "check", files=files))["compiles"])

    async def test_bad_input(self):
        async with self.client("auto") as client:
            self.assertIn("arguments.name: is missing",
                          await self.trouble(client, "show_signature"))
            self.assertIn("did you mean", await self.trouble(client, "show_signature", name="x", nam="x"))
            self.assertIn("rmsnorm_h64",
                          await self.trouble(client, "show_signature", name="rmsnorm_h6x4"))
            self.assertIn("arguments.limit",
                          await self.trouble(client, "submit", solution="x", limit=0))
            self.assertIn("leaves the folder",
                          await self.trouble(client, "check", files={"../x": ""}))
            self.assertIn("leaves the root", await self.trouble(client, "check", folder="../x"))
            self.assertIn("solution.json",
                          await self.trouble(client, "check", files={"a.cpp": ""}))
            self.assertIn("verdict", await self.trouble(client, "explain_verdict", id=99))
            with self.assertRaises(MCPError):
                await client.call_tool("no_such_tool", {})

    def test_stream(self):
        """Without the client: what isn't protocol is refused as protocol, and the end is clean."""
        lines = ["{", json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
                 json.dumps({"jsonrpc": "2.0", "id": 2, "method": "ping"})]
        done = subprocess.run([FIB, *self.arguments], input="\n".join(lines) + "\n",
                              capture_output=True, text=True, timeout=60)
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([answer["id"] for answer in answers], [None, 1, 2])
        self.assertEqual([answer.get("error", {}).get("code") for answer in answers],
                         [-32700, -32600, None])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
