#!/usr/bin/env python3
"""Packages loaded by tvm-ffi and called with arrays on the CPU.

    tvm_ffi_test.py PACKAGE_FOLDER PREPARED_PACKAGE_FOLDER

The second has one kernel, which wants its weight prepared.
"""

import os
import pathlib
import sys
import threading
import unittest

import numpy as np
import tvm_ffi

from arrays import Bfloat16, aligned, bits, floats, normal, rmsnorm

PACKAGE, PREPARED = (pathlib.Path(argument) for argument in sys.argv[1:3])
del sys.argv[1:3]


class TvmFfiTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.module = tvm_ffi.load_module(str(PACKAGE / "lib/libfib_kernels.so"))

    def setUp(self):
        self.x, self.weight = normal(3, 64), normal(64, seed=2)
        self.y = bits(np.zeros((3, 64)))

    def rmsnorm(self, *arguments):
        """Calls it with uint16 arrays as bfloat16."""
        seen = [Bfloat16(a) if isinstance(a, np.ndarray) and a.dtype == np.uint16 else a
                for a in arguments]
        self.module.rmsnorm_h64(*seen)

    def test_normalises(self):
        self.rmsnorm(self.x, self.weight, self.y)
        np.testing.assert_allclose(floats(self.y), rmsnorm(self.x, self.weight), rtol=0.01)

    def test_a_second_row_of_a_name_has_its_parameters(self):
        small = bits(floats(self.x) * 1e-3)
        for function, eps in ((self.module.rmsnorm_h64, 1e-6),
                              (self.module.rmsnorm_h64_eps_1e_05, 1e-5)):
            function(Bfloat16(small), Bfloat16(self.weight), Bfloat16(self.y))
            np.testing.assert_allclose(floats(self.y), rmsnorm(small, self.weight, eps), rtol=0.01)

    def test_takes_what_numpy_has(self):
        random = np.random.default_rng(3)
        a = aligned(random.standard_normal((5, 256)).astype(np.float16))
        b = aligned(random.standard_normal((256, 256)).astype(np.float16))
        c = aligned(np.empty((5, 256), np.float16))
        self.module.gemm_n256_k256(a, b, c)
        np.testing.assert_allclose(c, a.astype(np.float32) @ b.T.astype(np.float32), rtol=0.01,
                                   atol=0.05)

    def test_scalars_workspace_and_two_outputs(self):
        # One request of 20 tokens in two pages of 16; all keys are alike, so the output is the mean
        # of the values.
        q, k = normal(1, 4, 64), bits(np.ones((3, 16, 2, 64)))
        v = normal(3, 16, 2, 64, seed=4)
        indptr, indices, last = (aligned(np.array(n, np.int32)) for n in ([0, 2], [2, 0], [4]))
        output, lse = bits(np.zeros((1, 4, 64))), aligned(np.zeros((1, 4), np.float32))
        for scale in (0.125, 1):
            self.module.gqa_paged_decode_h4_kv2_d64_ps16(
                Bfloat16(q), Bfloat16(k), Bfloat16(v), indptr, indices, last, scale,
                Bfloat16(output), lse)
            values = np.concatenate([floats(v[2]), floats(v[0][:4])])  # [20, kv heads, 64]
            mean = values.mean(0).repeat(2, axis=0)
            np.testing.assert_allclose(floats(output[0]), mean, atol=0.01)
            logits = floats(q[0]).sum(-1) * scale
            np.testing.assert_allclose(lse[0], (logits + np.log(20)) / np.log(2), rtol=1e-3,
                                       atol=1e-2)

    def test_outputs_in_place_may_be_none(self):
        qkv = normal(1, (4 + 2 + 2) * 64)
        cos_sin = aligned(np.tile(np.repeat(np.array([1, 0], np.float32), 32), (8, 1)))
        positions, slots = (aligned(np.array([n], np.int32)) for n in (3, 17))
        caches = []
        for outputs_of in (lambda k, v: (None, None), lambda k, v: (k, v)):
            k, v = (Bfloat16(bits(np.zeros((2, 16, 2, 64)))) for _ in range(2))
            q = Bfloat16(bits(np.zeros((1, 4, 64))))
            self.module.rope_append_h4_kv2_d64_ps16(
                Bfloat16(qkv), cos_sin, positions, slots, k, v, q, *outputs_of(k, v))
            # Cosine 1 and sine 0 turn nothing.
            np.testing.assert_array_equal(q.words.ravel(), qkv[0, :256])
            np.testing.assert_array_equal(k.words[1, 1].ravel(), qkv[0, 256:384])
            np.testing.assert_array_equal(v.words[1, 1].ravel(), qkv[0, 384:])
            caches.append((k.words, v.words))
        np.testing.assert_array_equal(caches[0], caches[1])

    def test_weights_that_no_kernel_wants_laid_out(self):
        prepare = self.module.gemm_n256_k256_prepare
        b = aligned(np.zeros((256, 256), np.float16))
        self.assertEqual(prepare(None, b, None), 0)
        self.assertEqual(prepare(None, b, aligned(np.zeros(16, np.uint8))), 0)

    def test_prepared_weights(self):
        module = tvm_ffi.load_module(str(PREPARED / "lib/libfib_kernels.so"))
        x, weight, y = (Bfloat16(a) for a in (self.x, self.weight, self.y))
        with self.assertRaisesRegex(RuntimeError, "prepared"):
            module.rmsnorm_h64(x, weight, y)
        needed = module.rmsnorm_h64_prepare(None, weight, None)
        self.assertEqual(needed, 256)
        block = aligned(np.zeros(needed, np.uint8), 256)
        self.assertEqual(module.rmsnorm_h64_prepare(None, weight, block), needed)
        module.rmsnorm_h64(x, weight, y, block)
        np.testing.assert_allclose(floats(self.y), rmsnorm(self.x, self.weight), rtol=0.01)
        for arguments, error, message in (
                ((None, weight, block[:255]), ValueError, "255 bytes; 256 are needed"),
                ((None, None, block), TypeError, "no argument is a tensor|argument 2"),
                ((x, None, None), TypeError, r"argument 2 \(weight\) is None"),
                ((None, weight), TypeError, "2 inputs are expected"),
                ((None, weight, 256), TypeError, r"argument 3 \(prepared\) is an int"),
                ((1, weight, None), TypeError, r"argument 1 \(hidden_states\) is an int")):
            with self.subTest(message), self.assertRaisesRegex(error, message):
                module.rmsnorm_h64_prepare(*arguments)
        with self.assertRaisesRegex(ValueError, "255"):
            module.rmsnorm_h64(x, weight, y, block[:255])

    def test_refuses_what_doesnt_fit(self):
        x, weight, y = self.x, self.weight, self.y
        shifted = aligned(np.zeros(3 * 64 + 1, np.uint16))[1:].reshape(3, 64)
        wide = bits(np.zeros((3, 128)))
        for arguments, error, message in (
                ((x, weight), TypeError, "2 inputs and 1 outputs"),
                ((x, weight, y, None, None), TypeError, "5 arguments"),
                ((x, weight, 1), TypeError, r"argument 3 \(output\) is an int"),
                ((x, None, y), TypeError, r"argument 2 \(weight\) is None"),
                ((x, weight, None), TypeError, r"argument 3 \(output\) is None"),
                ((x, "weight", y), TypeError, r"argument 2 \(weight\) is something else"),
                ((1, 2.0, True), TypeError, "no argument is a tensor"),
                ((x, weight, y, y), ValueError, r"argument 4 \(prepared\)"),
                ((x[0], weight, y), ValueError, "hidden_states"),
                ((x, weight[:63], y), ValueError, "weight"),
                ((x, weight, bits(np.zeros((2, 64)))), ValueError, "output"),
                ((aligned(floats(x)), weight, y), ValueError, "hidden_states"),
                ((wide[:, ::2], weight, y), ValueError, "hidden_states.*a copy that is"),
                ((shifted, weight, y), ValueError, "hidden_states.*64 bytes; pass a copy")):
            with self.subTest(message), self.assertRaisesRegex(error, message):
                self.rmsnorm(*arguments)
        with self.assertRaises(AttributeError):
            self.module.rmsnorm_h65

    def test_refuses_scalars_that_are_none(self):
        tensors = [Bfloat16(bits(np.zeros(shape)))
                   for shape in ((1, 4, 64), (1, 16, 2, 64), (1, 16, 2, 64))]
        integers = [aligned(np.array(n, np.int32)) for n in ([0, 1], [0], [1])]
        with self.assertRaisesRegex(TypeError, r"argument 7 \(sm_scale\) is a tensor; a number"):
            self.module.gqa_paged_decode_h4_kv2_d64_ps16(
                *tensors, *integers, integers[0], tensors[0], integers[0])

    def test_serves_processes_that_are_forked_off(self):
        x = normal(300, 64)  # many rows, for several threads
        y = bits(np.zeros((300, 64)))
        self.rmsnorm(x, self.weight, y)
        y[...] = 0
        child = os.fork()
        if child == 0:
            self.rmsnorm(x, self.weight, y)
            os._exit(0 if np.allclose(floats(y), rmsnorm(x, self.weight), rtol=0.01) else 1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)

    def test_serves_threads_side_by_side(self):
        wrong = []

        def call(seed):
            x = normal(seed, 64, seed=seed)
            y = bits(np.zeros((seed, 64)))
            for _ in range(50):
                self.rmsnorm(x, self.weight, y)
            if not np.allclose(floats(y), rmsnorm(x, self.weight), rtol=0.01):
                wrong.append(seed)

        threads = [threading.Thread(target=call, args=(n,)) for n in range(1, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
