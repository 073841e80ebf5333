"""The test server as a context: starts the program, knows its port, has it drain at the end."""

import subprocess


class FakeServer:
    def __init__(self, program, api_key=None):
        self._process = subprocess.Popen([program] + ([api_key] if api_key else []),
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.stdout.close()
        code = self._process.wait()
        if code != 0:
            raise RuntimeError(f"the server ended with {code}")
