#!/usr/bin/env python3
"""A chat endpoint in the shape of OpenAI's that says what a script tells it to.

    scripted_chat_server.py SCRIPT [LOG]

Listens on a free port of the loopback, prints it, and ends with its stdin. SCRIPT is JSON:

    {"model": "scripted-1",      the only one it knows; another is answered 404
     "key": "secret",            the key that requests need; without: none is asked for
     "certificate": FILE,        PEM, with its private key: then it speaks TLS
     "steps": [...],             one for each conversation that begins, in their order
     "otherwise": {...}}         the step of those beyond; without: 500

A step:

    {"content": "..."}           an answer; null content too. Beside it: "usage" (null: left out),
                                 "finish_reason", "message" (further fields of it), "repair": the
                                 step for a conversation that goes on after this content; without
                                 one it is the next
    {"status": 429, "headers": {"Retry-After": "2"}, "error": {"message": ..., "code": ...}}
    {"raw": "<html>", "content_type": "text/html", "status": 200}
    {"cut": 20, "content": "..."}    the connection ends after so many bytes of the body
    {"drop": true}                   ... before anything is said
    {"hang": true}                   nothing is said until the client has gone

LOG gets a line for each request: its path, headers that matter, and body.
"""

import http.server
import json
import ssl
import sys
import threading

REQUIRED = {"model", "messages"}
KNOWN = REQUIRED | {"stream", "seed", "max_tokens", "max_completion_tokens", "temperature", "top_p"}


class Script:
    def __init__(self, document, log):
        self.model, self.key = document.get("model", "scripted-1"), document.get("key")
        self._steps, self._otherwise = list(document.get("steps", [])), document.get("otherwise")
        self._log, self._lock = log, threading.Lock()
        self._repairs = {step["content"]: step["repair"] for step in self._steps if "repair" in step}

    def next_step(self, messages):
        # Several conversations may be under way: each is continued by what it said before.
        last = messages[-2]["content"]
        with self._lock:
            if last in self._repairs:
                return self._repairs[last]
            if self._steps:
                return self._steps.pop(0)
        return self._otherwise or error(500, "the script has ended")

    def log(self, entry):
        if self._log:
            with self._lock:
                print(json.dumps(entry), file=self._log, flush=True)


def error(status, message, code=None):
    return {"status": status, "error": {"message": message, "type": "error", "code": code}}


def complaint(body, script, authorization):
    """What the real one would say of a request before it asks a model; None: it is in order."""
    if script.key is not None and authorization != f"Bearer {script.key}":
        return error(401, f"Incorrect API key provided: {authorization}", "invalid_api_key")
    try:
        request = json.loads(body)
    except ValueError:
        return error(400, "We could not parse the JSON body of your request.")
    if not isinstance(request, dict) or REQUIRED - request.keys():
        return error(400, f"you must provide {', '.join(sorted(REQUIRED))}")
    if request.keys() - KNOWN:
        return error(400, f"Unrecognized request argument: {min(request.keys() - KNOWN)}")
    if request["model"] != script.model:
        return error(404, f"The model `{request['model']}` does not exist", "model_not_found")
    if request.get("stream"):
        return error(400, "this server doesn't stream")
    roles = [message["role"] for message in request["messages"]]
    if roles[0] != "system" or roles[1::2] != ["user"] * len(roles[1::2]) or len(roles) % 2:
        return error(400, f"roles in an order that no conversation has: {roles}")
    if not all(isinstance(message["content"], str) for message in request["messages"]):
        return error(400, "Invalid type for 'messages[0].content'")
    return None


def completion(step, model):
    message = {"role": "assistant", "content": step["content"], **step.get("message", {})}
    document = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
                "choices": [{"index": 0, "message": message,
                             "finish_reason": step.get("finish_reason", "stop")}]}
    usage = step.get("usage", {"prompt_tokens": 1000, "completion_tokens": 100,
                               "total_tokens": 1100})
    if usage is not None:
        document["usage"] = usage
    return json.dumps(document)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        script = self.server.script
        body = self.rfile.read(int(self.headers["Content-Length"]))
        authorization = self.headers.get("Authorization")
        script.log({"path": self.path, "authorization": authorization,
                    "content_type": self.headers.get("Content-Type"),
                    "body": body.decode("utf-8", "replace")})
        if self.path != "/v1/chat/completions":
            step = error(404, f"Invalid URL (POST {self.path})")
        else:
            step = complaint(body, script, authorization) or script.next_step(
                json.loads(body)["messages"])
        self.close_connection = True
        if step.get("drop"):
            return
        if step.get("hang"):
            self.rfile.read(1)  # returns when the client has closed
            return
        if "error" in step:
            text = json.dumps({"error": step["error"]})
        else:
            text = step["raw"] if "raw" in step else completion(step, script.model)
        data = text.encode()
        self.send_response(step.get("status", 200))
        self.send_header("Content-Type", step.get("content_type", "application/json"))
        self.send_header("Content-Length", str(len(data)))
        for name, value in step.get("headers", {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:step.get("cut", len(data))])

    def log_message(self, *_):
        pass


def main():
    with open(sys.argv[1]) as file:
        document = json.load(file)
    log = open(sys.argv[2], "a") if len(sys.argv) > 2 else None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if "certificate" in document:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(document["certificate"])
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.script = Script(document, log)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
