#!/usr/bin/env python3
"""An installed fib_kernels, used with numpy and with what speaks DLPack: use_numpy.py LIBRARY.

LIBRARY is of another package, whose one kernel wants its weight prepared.
"""

import hashlib
import os
import pathlib
import sys
import tempfile
import threading
import unittest

import fib_kernels
import numpy as np

from arrays import Bfloat16, aligned, bits, floats, normal, rmsnorm


OTHER_LIBRARY = os.path.abspath(sys.argv.pop(1))


class NumpyTest(unittest.TestCase):
    def setUp(self):
        self.x, self.weight = normal(3, 64), normal(64, seed=2)

    def assert_normalised(self, y, x=None, eps=1e-6):
        np.testing.assert_allclose(
            floats(y), rmsnorm(self.x if x is None else x, self.weight, eps), rtol=0.01)

    def test_says_what_it_is(self):
        info = fib_kernels.info()
        self.assertEqual((info["name"], info["version"]), ("fib-kernels", "2026.1.2"))
        self.assertEqual(info["abi_version"], "1.0")
        self.assertIn("name", info["hardware"]["cpu"])
        self.assertFalse(info["hardware"]["cpu"]["has_winners"])
        self.assertIn(
            "rmsnorm_h64(hidden_states: bfloat16[batch_size, hidden_size], "
            "weight: bfloat16[hidden_size]) -> output: bfloat16[batch_size, hidden_size]",
            info["signatures"])
        self.assertIn("unavailable", info["hardware"]["cuda"])  # exported for the CPU alone
        signature, = (s for s in fib_kernels.signatures() if s.op_type == "rope")
        self.assertEqual(signature.outputs[1].in_place_of, "k_cache")
        self.assertEqual(signature.axes["num_qo_heads"], 4)
        self.assertIsNone(signature.axes["num_tokens"])

    def test_makes_outputs(self):
        y = fib_kernels.apply("rmsnorm_h64", self.x, self.weight)
        self.assertEqual((y.shape, y.dtype), ((3, 64), np.uint16))
        self.assert_normalised(y)
        self.assertEqual(fib_kernels.apply("rmsnorm_h64", self.x[:0], self.weight).shape, (0, 64))

    def test_writes_outputs_that_are_given(self):
        y = np.empty((3, 64), np.uint16)
        self.assertIs(fib_kernels.apply("rmsnorm_h64", self.x, self.weight, out=y), y)
        self.assert_normalised(y)
        shifted = aligned(np.zeros(3 * 64 + 1, np.uint16))[1:].reshape(3, 64)
        fib_kernels.apply("rmsnorm_h64", self.x, self.weight, out=(shifted,))
        self.assert_normalised(shifted)

    def test_copies_what_kernels_cant_read(self):
        shifted = aligned(np.zeros(3 * 64 + 1, np.uint16))[1:].reshape(3, 64)
        shifted[...] = self.x
        self.assert_normalised(fib_kernels.apply("rmsnorm_h64", shifted, self.weight))
        columns = np.asfortranarray(self.x)
        self.assert_normalised(fib_kernels.apply("rmsnorm_h64", columns, self.weight))

    def test_parameters(self):
        small = bits(floats(self.x) * 1e-3)
        for eps in (1e-6, 1e-5, float(np.float32(1e-6))):
            self.assert_normalised(
                fib_kernels.apply("rmsnorm_h64", small, self.weight, eps=eps), small, eps)
        self.assert_normalised(fib_kernels.apply("rmsnorm_h64", small, self.weight), small)

    def test_in_place(self):
        qkv = normal(1, (4 + 2 + 2) * 64)
        cos_sin = np.tile(np.repeat(np.array([1, 0], np.float32), 32), (8, 1))
        position, slot = np.array([3], np.int32), np.array([17], np.int32)
        caches = [aligned(np.zeros(2 * 16 * 2 * 64 + 1, np.uint16))[at:at + 2 * 16 * 2 * 64]
                  .reshape(2, 16, 2, 64) for at in (0, 1)]  # the second has to be copied
        q = fib_kernels.apply("rope_append_h4_kv2_d64_ps16", qkv, cos_sin, position, slot, *caches)
        np.testing.assert_array_equal(q.ravel(), qkv[0, :256])
        np.testing.assert_array_equal(caches[0][1, 1].ravel(), qkv[0, 256:384])
        np.testing.assert_array_equal(caches[1][1, 1].ravel(), qkv[0, 384:])
        self.assertEqual(np.count_nonzero(caches[0]), 128)
        caches[0].flags.writeable = False
        with self.assertRaisesRegex(ValueError, "read-only"):
            fib_kernels.apply("rope_append_h4_kv2_d64_ps16", qkv, cos_sin, position, slot, *caches)

    def test_several_outputs_and_scalars(self):
        q, k, v = normal(1, 4, 64), normal(1, 16, 2, 64), normal(1, 16, 2, 64, seed=2)
        indptr, indices, last = (np.array(n, np.int32) for n in ([0, 1], [0], [1]))
        output, lse = fib_kernels.apply("gqa_paged_decode_h4_kv2_d64_ps16", q, k, v, indptr,
                                        indices, last, 0.125)
        # One token: the output is its value.
        np.testing.assert_array_equal(output[0], v[0, 0].repeat(2, axis=0))
        self.assertEqual((lse.shape, lse.dtype), ((1, 4), np.float32))

    def test_host_copies(self):
        name = "gqa_paged_decode_h4_kv2_d64_ps16"
        q, k, v = normal(1, 4, 64), normal(1, 16, 2, 64), normal(1, 16, 2, 64, seed=2)
        indptr, indices, last = (np.array(n, np.int32) for n in ([0, 1], [0], [1]))
        arguments = (q, k, v, indptr, indices, last, 0.125)
        for _ in range(2):
            output, _ = fib_kernels.apply(name, *arguments, host={"kv_indptr": indptr})
            np.testing.assert_array_equal(output[0], v[0, 0].repeat(2, axis=0))
        self.assertIsNotNone(fib_kernels.choose(name, *arguments, host={"kv_indptr": indptr}))
        for host, error, message in (
                ({"q": q}, ValueError, "host copies are taken of kv_indptr.*, not of q"),
                ({"kv_indptr": indptr[:1]}, ValueError, r"int32 of the shape \(2,\) on the CPU"),
                ({"kv_indptr": indptr.astype(np.float32)}, ValueError, "copy of kv_indptr is to be"),
                ({"kv_indptr": [0, 1]}, TypeError, "no argument is an array")):
            for call in (fib_kernels.apply, fib_kernels.choose):
                with self.subTest(message), self.assertRaisesRegex(error, message):
                    call(name, *arguments, host=host)

    def test_what_speaks_dlpack(self):
        y = bits(np.zeros((3, 64)))
        wrapped = Bfloat16(y)
        self.assertIs(
            fib_kernels.apply("rmsnorm_h64", Bfloat16(self.x), Bfloat16(self.weight), out=wrapped),
            wrapped)
        self.assert_normalised(y)
        with self.assertRaisesRegex(TypeError, "give out= with output"):
            fib_kernels.apply("rmsnorm_h64", Bfloat16(self.x), Bfloat16(self.weight))

    def test_the_house_prepares_nothing(self):
        b = np.zeros((256, 256), np.float16)
        self.assertIsNone(fib_kernels.prepare("gemm_n256_k256", None, b))

    def test_prepared_weights_of_another_package(self):
        other = fib_kernels.Package(OTHER_LIBRARY)
        with self.assertRaisesRegex(RuntimeError, "prepared"):
            other.apply("rmsnorm_h64", self.x, self.weight)
        prepared = other.prepare("rmsnorm_h64", None, self.weight)
        self.assertEqual(prepared.data.nbytes, 256)
        for _ in range(2):
            self.assert_normalised(
                other.apply("rmsnorm_h64", self.x, self.weight, prepared=prepared))
        with self.assertRaisesRegex(RuntimeError, "prepared"):
            other.apply("rmsnorm_h64", self.x, self.weight)
        # Both packages serve.
        self.assert_normalised(fib_kernels.apply("rmsnorm_h64", self.x, self.weight))
        with self.assertRaisesRegex(TypeError, "weight is None"):
            other.prepare("rmsnorm_h64", self.x, None)

    def test_chooses(self):
        choice = fib_kernels.choose("rmsnorm_h64", self.x, self.weight)
        self.assertEqual((choice.solution, choice.is_winner), ("rmsnorm-rows", False))
        self.assertFalse(choice.wants_prepared)

    def test_chooses_only_for_what_apply_takes(self):
        for arguments, parameters, error in (
                (("rmsnorm_h65", self.x, self.weight), {}, LookupError),
                (("rmsnorm_h64", self.x, self.weight), {"eps": 0.5}, LookupError),
                (("rmsnorm_h64", self.x.astype(np.float32), self.weight), {}, ValueError),
                (("rmsnorm_h64", self.x, self.weight[:63]), {}, ValueError),
                (("rmsnorm_h64", self.x, None), {}, TypeError)):
            for call in (fib_kernels.choose, fib_kernels.apply):
                with self.subTest((arguments[0], error)), self.assertRaises(error):
                    call(*arguments, **parameters)

    def test_chooses_for_the_call_as_it_will_be_made(self):
        other = fib_kernels.Package(OTHER_LIBRARY)
        arguments = ("rmsnorm_h64", self.x, self.weight)
        self.assertIsNone(other.choose(*arguments))  # its only kernel wants prepared weights
        prepared = other.prepare("rmsnorm_h64", None, self.weight)
        self.assertEqual(other.choose(*arguments, prepared=prepared).solution,
                         "rmsnorm-wide-weight")
        for call in (other.choose, other.apply):
            with self.assertRaisesRegex(TypeError, r"prepared= is what prepare\(\) returned"):
                call(*arguments, prepared=3)

    def test_refuses_what_doesnt_fit(self):
        x, weight = self.x, self.weight
        one = np.ones(1, np.int32)
        for arguments, error, message in (
                (("rmsnorm_h65", x, weight), LookupError, "there are rmsnorm_h64"),
                (("rmsnorm_h64", x), TypeError, "1 inputs were given to rmsnorm_h64"),
                (("rmsnorm_h64", 1, 2), TypeError, "no argument is an array"),
                (("rmsnorm_h64", x, None), TypeError, "weight is None"),
                (("rmsnorm_h64", x, Bfloat16(weight)), TypeError, "others are numpy arrays"),
                (("rmsnorm_h64", x[0], weight), ValueError, "hidden_states has 1 dimensions"),
                (("rmsnorm_h64", x, weight[:63]), ValueError, "weight.*hidden_size is 64"),
                (("rmsnorm_h64", x.astype(np.float32), weight), ValueError, "hidden_states"),
                (("rmsnorm_h64", x.astype(">u2"), weight), ValueError, "has the dtype >u2"),
                (("gqa_paged_decode_h4_kv2_d64_ps16", normal(1, 4, 64), normal(1, 16, 2, 64),
                  normal(1, 16, 2, 64), np.array([0, 1], np.int32), one, one, one),
                 TypeError, "sm_scale is a number")):
            with self.subTest(message), self.assertRaisesRegex(error, message):
                fib_kernels.apply(*arguments)
        for out, error, message in (
                ((x, x), TypeError, "2 outputs were given"),
                (bits(np.zeros((2, 64))), ValueError, "output"),
                (np.zeros((3, 64), np.float32), ValueError, "output"),
                (np.broadcast_to(np.uint16(0), (3, 64)), ValueError, "read-only")):
            with self.subTest(message), self.assertRaisesRegex(error, message):
                fib_kernels.apply("rmsnorm_h64", x, weight, out=out)
        with self.assertRaisesRegex(LookupError, "rmsnorm_h64"):
            fib_kernels.apply("rmsnorm_h64", x, weight, eps=0.5)
        with self.assertRaisesRegex(RuntimeError, "before the first call"):
            fib_kernels.set_num_threads(1)
        with self.assertRaisesRegex(ValueError, '"cpu", "cuda" or "cuda:1"'):
            fib_kernels.package().hardware("tpu")

    def test_opens_folders_and_relative_paths(self):
        other = pathlib.Path(OTHER_LIBRARY)
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(other.parent)
        for path in (other.parent.parent, str(other.parent.parent), "..", other.name, other):
            with self.subTest(path):
                self.assertEqual(len(fib_kernels.Package(path).signatures()), 1)

    def test_refuses_what_is_no_whole_package(self):
        libc = next(line.split()[-1] for line in pathlib.Path("/proc/self/maps").read_text()
                    .splitlines() if line.endswith("/libc.so.6"))
        with self.assertRaisesRegex(ImportError, "it has no fib_kernels_get_api"):
            fib_kernels.Package(libc)
        with tempfile.TemporaryDirectory() as scratch:
            folder = pathlib.Path(scratch)
            (folder / "lib").mkdir()
            library, sums = folder / "lib/libfib_kernels.so", folder / "SHA256SUMS"
            whole = pathlib.Path(OTHER_LIBRARY).read_bytes()
            digest = hashlib.sha256(whole).hexdigest()

            def refuse(path, content, listed, error, message):
                library.write_bytes(content)
                sums.unlink(missing_ok=True)
                if listed is not None:
                    sums.write_text(listed)
                with self.subTest(message), self.assertRaisesRegex(error, message):
                    fib_kernels.Package(path)

            listed = f"{digest}  lib/libfib_kernels.so\n"
            for path in (library, folder):
                refuse(path, whole[:300_000], listed, ImportError, "is cut off: 300000 bytes of at")
                refuse(path, b"", listed, ImportError, "is no shared object")
                refuse(path, whole + b"!", listed, ImportError, "is not what was exported")
                refuse(path, whole, "", ImportError, "doesn't list lib/libfib_kernels.so")
            refuse(library, whole[:300_000], None, ImportError, "is cut off")
            refuse(folder, whole, None, ImportError, "is no kernel package: it has no SHA256SUMS")
            refuse(folder / "none.so", whole, listed, FileNotFoundError, "name a package's folder")
            refuse("package.tar.zst", whole, listed, ImportError, "is an archive: unpack it")
            library.write_bytes(whole)
            sums.write_text(listed)
            self.assertEqual(len(fib_kernels.Package(folder).signatures()), 1)

    def test_serves_processes_that_are_forked_off(self):
        x = normal(300, 64)  # many rows, for several threads
        self.assert_normalised(fib_kernels.apply("rmsnorm_h64", x, self.weight), x)
        child = os.fork()
        if child == 0:
            y = fib_kernels.apply("rmsnorm_h64", x, self.weight)
            os._exit(0 if np.allclose(floats(y), rmsnorm(x, self.weight), rtol=0.01) else 1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)

    def test_many_shapes_and_threads(self):
        wrong = []

        def call(thread):
            for rows in range(1, 200):
                x = normal(rows % 7 + 1, 64, seed=rows + 1000 * thread)
                y = fib_kernels.apply("rmsnorm_h64", x, self.weight)
                if not np.allclose(floats(y), rmsnorm(x, self.weight), rtol=0.01):
                    wrong.append((thread, rows))

        threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    # Before any call; what it does is the first test's to see.
    fib_kernels.set_num_threads(2)
    unittest.main()
