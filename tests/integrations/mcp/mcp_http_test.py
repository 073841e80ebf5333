#!/usr/bin/env python3
"""`fib mcp --http` through the official client of the Model Context Protocol, and through a plain
socket where no client would go.

    mcp_http_test.py FIB CACHE
"""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
import unittest
import urllib.parse

import anyio
from mcp import Client

from tools import FIB, MODES, SIGNATURE, ToolTest

VERSION = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {}}
LARGEST = 20 << 20


class Http(ToolTest):
    def setUp(self):
        super().setUp()
        self.server = subprocess.Popen([FIB, *self.arguments, "--json", "--http", "0"],
                                       stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.stop)
        self.url = json.loads(self.server.stdout.readline())["url"]
        self.host = urllib.parse.urlsplit(self.url).netloc

    def stop(self):
        """Ends by itself, whatever has been asked of it."""
        if self.server.poll() is None:
            self.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(timeout=120), 0)
        self.server.stdout.close()

    def client(self, mode):
        return Client(self.url, mode=mode)

    # --- through the client

    async def test_walk_without_a_session(self):
        async with self.client(MODES[0]) as client:
            await self.walk(client, MODES[0])

    async def test_walk_in_a_session(self):
        async with self.client(MODES[1]) as client:
            await self.walk(client, MODES[1])

    async def test_two_clients(self):
        """Slow tools take turns, whoever asked; the others are answered meanwhile."""
        for modes in (MODES, MODES[::-1]):
            with self.subTest(modes):
                async with self.client(modes[0]) as first, self.client(modes[1]) as second:
                    files = (await self.call(first, "get_skeleton", signature=SIGNATURE,
                                             target="cpu"))["files"]
                    started, ended = anyio.Event(), []

                    async def on_progress(done, total, message):
                        started.set()

                    async def submit():
                        result = await first.call_tool(
                            "submit", {"files": files, "signature": SIGNATURE, "quick": True,
                                       "force": True},
                            progress_callback=on_progress)
                        self.assertEqual(result.structured_content["passed"],
                                         result.structured_content["total"])
                        ended.append("submit")

                    async def check():
                        await self.call(second, "check", files=files)
                        ended.append("check")

                    async with anyio.create_task_group() as group:
                        group.start_soon(submit)
                        await started.wait()
                        group.start_soon(check)
                        await self.call(second, "list_signatures", limit=1)
                    self.assertEqual(ended, ["submit", "check"])

    async def test_cancel(self):
        for mode in MODES:
            with self.subTest(mode):
                async with self.client(mode) as client:
                    files = (await self.call(client, "get_skeleton", signature=SIGNATURE,
                                             target="cpu", name=f"late-{mode}"))["files"]
                    started = anyio.Event()

                    async def on_progress(done, total, message):
                        started.set()

                    async def submit():
                        await client.call_tool("submit", {"files": files, "force": True},
                                               progress_callback=on_progress)

                    async with anyio.create_task_group() as group:
                        group.start_soon(submit)
                        await started.wait()
                        group.cancel_scope.cancel()
                    # The next slow call waits for the end of the cancelled one only.
                    self.assertTrue((await self.call(client, "check", files=files))["compiles"])

    async def test_bad_input(self):
        async with self.client("auto") as client:
            self.assertIn("arguments.name: is missing",
                          await self.trouble(client, "show_signature"))
            self.assertIn("leaves the root", await self.trouble(client, "check", folder="../x"))

    # --- through a socket

    def send(self, message=None, method="POST", path="/mcp", body=None, **headers):
        """The answer's status, its headers and its JSON."""
        with contextlib.closing(http.client.HTTPConnection(self.host, timeout=120)) as connection:
            self.begin(connection, message, method, path, body, **headers)
            response = connection.getresponse()
            text = response.read()
            return response.status, response.headers, json.loads(text) if text else None

    def begin(self, connection, message, method="POST", path="/mcp", body=None, **headers):
        fields = {"Content-Type": "application/json",
                  "Accept": "application/json, text/event-stream"}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=json.dumps(message) if body is None else body,
                           headers={k: v for k, v in fields.items() if v is not None})

    def request(self, method, meta=META, **params):
        if meta:
            params["_meta"] = meta
        return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}

    def stateless(self, method, name=None, **params):
        """A request of the newest revision with the headers that repeat its fields."""
        if name is not None:
            params["name"] = name
        headers = {"MCP_Protocol_Version": VERSION, "Mcp_Method": method, "Mcp_Name": name}
        return self.request(method, **params), headers

    def open_session(self):
        status, headers, answer = self.send(
            self.request("initialize", meta=None, protocolVersion="2025-11-25"))
        self.assertEqual((status, answer["result"]["protocolVersion"]), (200, "2025-11-25"))
        return headers["Mcp-Session-Id"]

    def first_event(self, message, **headers):
        """Asks, waits for what is told first, and goes."""
        with contextlib.closing(http.client.HTTPConnection(self.host, timeout=120)) as connection:
            self.begin(connection, message, **headers)
            response = connection.getresponse()
            self.assertEqual(response.headers["Content-Type"], "text/event-stream")
            self.assertEqual(response.readline(), b"event: message\n")
            event = json.loads(response.readline().removeprefix(b"data: "))
            self.assertEqual(event["method"], "notifications/progress")

    def submission(self, name, **arguments):
        message, headers = self.stateless("tools/call", "get_skeleton", arguments={
            "signature": SIGNATURE, "target": "cpu", "name": name})
        files = self.send(message, **headers)[2]["result"]["structuredContent"]["files"]
        return {"name": "submit", "arguments": {"files": files, "quick": True, **arguments}}

    def passed_on_the_board(self, name):
        message, headers = self.stateless("tools/call", "board", arguments={"signature": SIGNATURE})
        rows = self.send(message, **headers)[2]["result"]["structuredContent"]["rows"]
        return sum(row["workloads_passed"] for row in rows if row["solution"] == name)

    def next_slow_call(self, submission):
        """Answered when the queue has come to it."""
        message, headers = self.stateless("tools/call", "check", arguments={
            "files": submission["arguments"]["files"]})
        return self.send(message, **headers)[2]["result"]["structuredContent"]

    def test_a_client_that_goes(self):
        """In the newest revision that cancels its request; the next one's turn comes."""
        submission = self.submission("gone", force=True)
        message, headers = self.stateless("tools/call", **submission)
        message["params"]["_meta"] = META | {"progressToken": 1}
        self.first_event(message, **headers)
        self.assertTrue(self.next_slow_call(submission)["compiles"])

    def test_a_client_that_is_cut_off(self):
        """In a session that cancels nothing: its request is carried out."""
        session = self.open_session()
        submission = self.submission("cut-off", signature=SIGNATURE, limit=1)
        message = self.request("tools/call", meta={"progressToken": 1}, **submission)
        self.first_event(message, Mcp_Session_Id=session)
        self.next_slow_call(submission)
        self.assertEqual(self.passed_on_the_board("cut-off"), 1)

    def test_a_session_ends(self):
        session = self.open_session()
        tools = self.request("tools/list", meta=None)
        self.assertEqual(self.send(tools, Mcp_Session_Id=session)[0], 200)
        note = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        self.assertEqual(self.send(note, Mcp_Session_Id=session)[::2], (202, None))
        self.assertEqual(self.send(tools, Mcp_Session_Id=session,
                                   MCP_Protocol_Version="1999-01-01")[0], 400)
        self.assertEqual(self.send(method="DELETE", Mcp_Session_Id=session)[0], 200)
        self.assertEqual(self.send(tools, Mcp_Session_Id=session)[0], 404)
        self.assertEqual(self.send(method="DELETE", Mcp_Session_Id=session)[0], 404)
        self.assertEqual(self.send(method="DELETE")[0], 400)
        status, _, answer = self.send(tools)
        self.assertEqual(status, 400)
        self.assertIn("Mcp-Session-Id", answer["error"]["message"])

    def test_sessions_make_room(self):
        first, second = self.open_session(), self.open_session()
        tools = self.request("tools/list", meta=None)
        self.assertEqual(self.send(tools, Mcp_Session_Id=first)[0], 200)
        for _ in range(63):
            self.open_session()
        self.assertEqual(self.send(tools, Mcp_Session_Id=first)[0], 200)
        self.assertEqual(self.send(tools, Mcp_Session_Id=second)[0], 404)

    def test_foreigners(self):
        """No web page from elsewhere gets through, whatever name points here."""
        message, headers = self.stateless("tools/list")
        for name, value, expected in (
                ("Origin", "https://evil.example", 403), ("Origin", "null", 403),
                ("Origin", "http://localhost.evil.example:80", 403),
                ("Origin", "http://localhost:6274", 200), ("Origin", "http://[::1]", 200),
                ("Host", "evil.example", 421), ("Host", "127.0.0.1.evil.example:80", 421),
                ("Host", "localhost:1", 200), ("Host", "[::1]:1", 200)):
            with self.subTest(name=name, value=value):
                status, _, answer = self.send(message, **headers, **{name: value})
                self.assertEqual(status, expected)
                if expected != 200:
                    self.assertIn(name, answer["error"]["message"])

    def test_what_is_no_message(self):
        message, headers = self.stateless("tools/list")
        self.assertEqual(self.send(message, method="GET", **headers)[0], 405)
        self.assertEqual(self.send(message, path="/", **headers)[0], 404)
        self.assertEqual(self.send(message, **headers | {"Content_Type": "text/plain"})[0], 415)
        self.assertEqual(self.send(message, **headers | {"Accept": "application/json"})[0], 406)
        self.assertEqual(self.send(message, **headers | {"Accept": "*/*"})[0], 200)
        self.assertEqual(self.send(body="{", **headers)[2]["error"]["code"], -32700)
        self.assertEqual(self.send([message], **headers)[2]["error"]["code"], -32600)
        self.assertEqual(self.send({"jsonrpc": "2.0", "id": 9, "result": {}}, **headers)[0], 202)

    def test_too_large(self):
        message, headers = self.stateless("tools/list")
        padded = json.dumps(message).encode()
        padded += b" " * (LARGEST - len(padded))
        self.assertEqual(self.send(body=padded, **headers)[0], 200)
        status, _, answer = self.send(body=b"", Content_Length=str(LARGEST + 1), **headers)
        self.assertEqual(status, 413)
        self.assertIn(str(LARGEST), answer["error"]["message"])

    def test_headers_repeat_the_body(self):
        message, headers = self.stateless("tools/call", "list_signatures", arguments={"limit": 1})
        self.assertEqual(self.send(message, **headers)[0], 200)
        encoded = "=?base64?bGlzdF9zaWduYXR1cmVz?="
        self.assertEqual(self.send(message, **headers | {"Mcp_Name": encoded})[0], 200)
        for name in headers:
            for value in (None, "other"):
                with self.subTest(name=name, value=value):
                    status, _, answer = self.send(message, **headers | {name: value})
                    self.assertEqual(status, 400)
                    self.assertEqual(answer["error"]["code"], -32020)
                    self.assertEqual(answer["id"], 1)

    def test_revisions(self):
        message, headers = self.stateless("no/such")
        status, _, answer = self.send(message, **headers)
        self.assertEqual((status, answer["error"]["code"]), (404, -32601))
        message = self.request("tools/list", meta=META | {
            "io.modelcontextprotocol/protocolVersion": "2099-01-01"})
        status, _, answer = self.send(message, MCP_Protocol_Version="2099-01-01",
                                      Mcp_Method="tools/list")
        self.assertEqual((status, answer["error"]["code"]), (400, -32022))
        # The header alone doesn't make a request of the newest revision.
        status, _, answer = self.send(self.request("tools/list", meta=None),
                                      MCP_Protocol_Version=VERSION)
        self.assertEqual((status, answer["error"]["code"]), (400, -32020))
        note = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
        self.assertEqual(self.send(note, MCP_Protocol_Version=VERSION)[0], 202)


class Address(ToolTest):
    def test_other_machines_stay_out(self):
        for address in ("0.0.0.0:8931", "192.0.2.1:8931", "[::]:8931", "example.org:8931",
                        "localhost:port", ":8931", "65536", "localhost"):
            with self.subTest(address):
                done = subprocess.run([FIB, *self.arguments, "--http", address],
                                      capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(address, done.stderr)
                self.assertIn("127.0.0.1", done.stderr)

    def test_ipv6(self):
        server = subprocess.Popen([FIB, *self.arguments, "--http", "[::1]:0"],
                                  stdout=subprocess.PIPE, text=True)
        self.assertIn("http://[::1]:", server.stdout.readline())
        server.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(timeout=60), 0)
        server.stdout.close()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
