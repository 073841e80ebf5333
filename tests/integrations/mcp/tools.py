"""What the tests of `fib mcp` share, whatever the transport."""

import json
import pathlib
import sys
import tempfile
import unittest

FIB, CACHE = sys.argv[1], sys.argv[2]
SIGNATURE = "rmsnorm_h64"
MODES = ("2026-07-28", "legacy")


class ToolTest(unittest.IsolatedAsyncioTestCase):
    """Each test has a store of its own: what is stored already isn't measured again."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        (self.folder / "root").mkdir()
        self.arguments = ["mcp", "--root", str(self.folder / "root"), "--cache", CACHE,
                          "--store", str(self.folder / "store.db")]

    async def call(self, client, tool, **arguments):
        """The structured result; the client has held it against the tool's output schema."""
        result = await client.call_tool(tool, arguments)
        self.assertFalse(result.is_error, result.content)
        self.assertTrue(result.content[0].text)
        return result.structured_content

    async def trouble(self, client, tool, **arguments):
        result = await client.call_tool(tool, arguments)
        self.assertTrue(result.is_error, result)
        return result.content[0].text

    async def walk(self, client, mode):
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        self.assertEqual(
            list(tools), ["list_signatures", "show_signature", "get_skeleton", "check", "submit",
                          "compare", "profile", "board", "explain_verdict", "best_solutions"])
        self.assertTrue(tools["board"].annotations.read_only_hint)

        listed = await self.call(client, "list_signatures", op_type="rmsnorm")
        self.assertIn(SIGNATURE, [entry["name"] for entry in listed["signatures"]])
        shown = await self.call(client, "show_signature", name=SIGNATURE)
        self.assertIn("honest", json.dumps(shown["tolerances"]))
        self.assertNotIn("seed", json.dumps(shown))

        files = (await self.call(client, "get_skeleton", signature=SIGNATURE, target="cpu",
                                 name=f"mine-{mode}"))["files"]
        self.assertEqual(set(files), {"solution.json", "solution.cpp", "AGENTS.md"})
        checked = await self.call(client, "check", files=files)
        self.assertTrue(checked["compiles"])

        heard = []

        async def on_progress(done, total, message):
            heard.append((done, total, message))

        submitted = await client.call_tool(
            "submit", {"files": files, "signature": SIGNATURE, "limit": 2, "quick": True},
            progress_callback=on_progress)
        report = submitted.structured_content
        self.assertEqual(report["passed"], report["total"], report)
        self.assertEqual(len(report["verdicts"]), report["total"])
        self.assertTrue(heard)
        self.assertEqual([done for done, _, _ in heard], sorted({done for done, _, _ in heard}))

        rows = (await self.call(client, "board", signature=SIGNATURE))["rows"]
        self.assertIn(f"mine-{mode}", [row["solution"] for row in rows])
        verdict = report["verdicts"][0]["id"]
        explained = await self.call(client, "explain_verdict", id=verdict)
        self.assertEqual(explained["status"], "PASSED")
        self.assertTrue(explained["worst_output"])
        self.assertIn("of the roofline", explained["feedback"])
        profile = await self.call(client, "profile", files=files, signature=SIGNATURE, limit=2)
        self.assertEqual(profile["outcome"], "right")
        self.assertGreater(profile["time"]["best"]["cold_median_ns"], 0)
        self.assertGreater(profile["resources"]["code_bytes"], 0)
        self.assertEqual(profile["counters"]["reason"], "not asked for")
        self.assertNotIn("seed", json.dumps(profile))
        best = await self.call(client, "best_solutions", signature=SIGNATURE)
        self.assertIn("solution.cpp", best["solutions"][0]["files"])
