"""fib quantize: the bundled model's first layer in bf16, quantised again, and served."""

import json
import pathlib
import shutil
import struct
import tempfile
import unittest

from fib_program import TINY_MODEL, fib

GROUP = 32   # weights that share a scale
PER_WORD = 8  # weights in an int32, the first lowest, each less by 8


def read_safetensors(file):
    """name -> (dtype, shape, bytes)"""
    content = file.read_bytes()
    (size,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8:8 + size])
    data = content[8 + size:]
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items() if name != "__metadata__"}


def write_safetensors(file, tensors):
    header, end = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            out.write(data)


def unpack(packed, scales):
    """int32 words and bf16 scales to bf16 weights, cut off rather than rounded."""
    out = bytearray()
    for group, (scale,) in enumerate(struct.iter_unpack("<2s", scales)):
        (scale,) = struct.unpack("<f", b"\0\0" + scale)
        values = struct.pack("<16f", *((level - 8) * scale for level in range(16)))
        values = [values[4 * level + 2:4 * level + 4] for level in range(16)]
        pairs = packed[group * GROUP // 2:(group + 1) * GROUP // 2]
        out += b"".join(values[pair & 15] + values[pair >> 4] for pair in pairs)
    return bytes(out)


def write_first_layer_in_bf16(folder):
    shutil.copytree(TINY_MODEL, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.md"))
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    config["num_hidden_layers"] = 1
    config["max_window_layers"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    stored, kept = read_safetensors(TINY_MODEL / "model.safetensors"), {}
    for name, (dtype, shape, data) in stored.items():
        if name.startswith("model.layers.") and not name.startswith("model.layers.0."):
            continue
        if name.endswith("_packed"):
            stem = name.removesuffix("_packed")
            kept[stem] = ("BF16", [shape[0], shape[1] * PER_WORD],
                          unpack(data, stored[stem + "_scale"][2]))
        elif not name.endswith(("_scale", "_shape")):
            kept[name] = (dtype, shape, data)
    write_safetensors(folder / "model.safetensors", kept)


class Quantize(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        write_first_layer_in_bf16(cls.folder / "bf16")
        done = fib("quantize", str(cls.folder / "bf16"), str(cls.folder / "int4"), "--json")
        assert done.returncode == 0, done.stderr
        cls.report = json.loads(done.stdout)

    def test_finds_the_levels_that_were_there(self):
        self.assertEqual(self.report["quantized_tensors"], 3 * 32)
        self.assertGreater(self.report["relative_rms_error"], 0)
        self.assertLess(self.report["relative_rms_error"], 0.01)
        original = read_safetensors(TINY_MODEL / "model.safetensors")
        levels, equal = 0, 0
        for name, (dtype, shape, data) in read_safetensors(
                self.folder / "int4/model.safetensors").items():
            self.assertEqual((dtype, shape), original[name][:2], name)
            if name.endswith("_packed"):
                levels += len(data)
                equal += sum(map(int.__eq__, data, original[name][2]))
            elif not name.endswith("_scale"):
                self.assertEqual(data, original[name][2], name)
        self.assertGreater(equal / levels, 0.9)

    def test_both_are_served(self):
        for name in ("bf16", "int4"):
            done = fib("chat", str(self.folder / name), "--kv-cache", "64M", "--temperature", "0",
                       "--max-tokens", "8", text="The old man\n")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertGreater(len(done.stdout), 8)

    def test_does_not_overwrite(self):
        done = fib("quantize", str(self.folder / "bf16"), str(self.folder / "int4"))
        self.assertEqual(done.returncode, 3)
        self.assertIn(str(self.folder / "int4"), done.stderr)

    def test_refuses_what_is_quantised_already(self):
        done = fib("quantize", str(TINY_MODEL), str(self.folder / "twice"))
        self.assertEqual(done.returncode, 3)
        self.assertFalse((self.folder / "twice").exists())


if __name__ == "__main__":
    unittest.main()
