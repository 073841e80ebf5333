"""fib serve on models that were damaged: it ends before it listens, with the place in the message.
A chat template that it doesn't know is no damage: completions are served."""

import json
import pathlib
import shutil
import struct
import tempfile
import unittest
import urllib.error
import urllib.request

from fib_program import TINY_MODEL, Server, fib

TENSOR = "model.layers.3.self_attn.q_proj.weight"


class BrokenModel(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.model = pathlib.Path(scratch.name) / "broken"
        shutil.copytree(TINY_MODEL, self.model)
        self.weights = self.model / "model.safetensors"

    def change_header(self, change):
        """`change` edits the header of the weights in place; the data stay as they are."""
        content = self.weights.read_bytes()
        (size,) = struct.unpack_from("<Q", content)
        header = json.loads(content[8:8 + size])
        change(header)
        text = json.dumps(header).encode()
        self.weights.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size:])

    def change_json(self, name, **changes):
        document = json.loads((self.model / name).read_text())
        (self.model / name).write_text(json.dumps({**document, **changes}))

    def expect_refused(self, *words):
        done = fib("serve", str(self.model), "--port", "0", "--json")
        self.assertIn(done.returncode, (2, 3), done.stderr)
        error = json.loads(done.stdout)["error"]
        for word in words:
            self.assertIn(word, json.dumps(error))
            self.assertIn(word, done.stderr)

    def test_no_weights(self):
        self.weights.unlink()
        self.expect_refused("model.safetensors")

    def test_truncated_weights(self):
        with self.weights.open("r+b") as file:
            file.truncate(self.weights.stat().st_size - 1000)
        self.expect_refused("model.safetensors")

    def test_bytes_of_no_tensor(self):
        self.change_header(lambda header: header.pop(TENSOR))
        self.expect_refused("model.safetensors", "leave a hole")

    def test_a_tensor_of_another_name(self):
        self.change_header(lambda header: header.update({TENSOR + "s": header.pop(TENSOR)}))
        self.expect_refused(TENSOR)

    def test_a_tensor_of_another_shape(self):
        self.change_header(lambda header: header[TENSOR].update(shape=[128, 512]))
        self.expect_refused(str(self.model), TENSOR, "512")

    def test_a_tensor_of_another_dtype(self):
        self.change_header(lambda header: header[TENSOR].update(dtype="F16"))
        self.expect_refused(str(self.model), TENSOR, "float16")

    def test_an_unknown_architecture(self):
        self.change_json("config.json", architectures=["MambaForCausalLM"])
        self.expect_refused("config.json", "MambaForCausalLM")

    def test_a_config_that_does_not_fit_the_weights(self):
        self.change_json("config.json", num_hidden_layers=9)
        self.expect_refused("model.layers.8.")

    def test_a_config_that_is_not_json(self):
        (self.model / "config.json").write_text("{")
        self.expect_refused("config.json")

    def test_a_broken_tokenizer(self):
        (self.model / "tokenizer.json").write_text('{"model": {}}')
        self.expect_refused("tokenizer.json")

    def test_an_unknown_chat_template(self):
        (self.model / "chat_template.jinja").write_text("{{ messages | told_as_a_story }}")

        def ask(path, **body):
            data = json.dumps({"model": "broken", "max_tokens": 4, **body}).encode()
            return json.load(urllib.request.urlopen(urllib.request.Request(
                server.url + path, data, {"Content-Type": "application/json"})))

        with Server(str(self.model)) as server:
            self.assertTrue(ask("/v1/completions", prompt="Once")["choices"][0]["text"])
            with self.assertRaises(urllib.error.HTTPError) as refused:
                ask("/v1/chat/completions", messages=[{"role": "user", "content": "Once"}])
            self.assertEqual(refused.exception.code, 400)
            self.assertIn("/v1/completions", json.load(refused.exception)["error"]["message"])
        done = fib("chat", str(self.model), text="Once\n")
        self.assertEqual(done.returncode, 3)
        self.assertIn("chat_template.jinja", done.stderr)


if __name__ == "__main__":
    unittest.main()
