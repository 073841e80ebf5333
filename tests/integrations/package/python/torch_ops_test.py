#!/usr/bin/env python3
"""The signatures as torch operators on the CPU: torch_ops_test.py PACKAGE_FOLDER BUILD_WHEEL.

Skipped where torch isn't installed. Nothing is compiled by torch.compile's back ends used here.
"""

import pathlib
import sys
import unittest

import unpacked

try:
    import torch
except ImportError as missing:
    unpacked.skip_without("torch", missing)

unpacked.import_from(*sys.argv[1:3])
del sys.argv[1:3]

import fib_kernels  # noqa: E402
import fib_kernels.torch_ops  # noqa: E402

ops = torch.ops.fib_kernels


def rmsnorm(x, weight, eps=1e-6):
    return torch.nn.functional.rms_norm(x.float(), (64,), weight.float(), eps)


def close(actual, expected):
    torch.testing.assert_close(actual.float(), expected.float(), rtol=0.01, atol=0.01)


def rope_arguments():
    return (torch.randn(2, 8 * 64, dtype=torch.bfloat16), torch.randn(8, 64),
            torch.tensor([3, 5], dtype=torch.int32), torch.tensor([17, 4], dtype=torch.int32),
            torch.zeros(2, 16, 2, 64, dtype=torch.bfloat16),
            torch.zeros(2, 16, 2, 64, dtype=torch.bfloat16))


def attention_arguments():
    return (torch.randn(1, 4, 64, dtype=torch.bfloat16),
            torch.randn(3, 16, 2, 64, dtype=torch.bfloat16),
            torch.randn(3, 16, 2, 64, dtype=torch.bfloat16),
            torch.tensor([0, 2], dtype=torch.int32), torch.tensor([2, 0], dtype=torch.int32),
            torch.tensor([4], dtype=torch.int32), 0.125)


class TorchOpsTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        self.x = torch.randn(3, 64, dtype=torch.bfloat16)
        self.weight = torch.randn(64, dtype=torch.bfloat16)

    def test_functional_and_destination_passing(self):
        expected = rmsnorm(self.x, self.weight)
        y = torch.empty_like(self.x)
        self.assertIsNone(ops.rmsnorm_h64_out(self.x, self.weight, y))
        for actual in (y, ops.rmsnorm_h64(self.x, self.weight),
                       fib_kernels.apply("rmsnorm_h64", self.x, self.weight)):
            close(actual, expected)

    def test_parameters(self):
        small = self.x * 1e-3
        close(ops.rmsnorm_h64(small, self.weight), rmsnorm(small, self.weight))
        close(ops.rmsnorm_h64(small, self.weight, eps=1e-5), rmsnorm(small, self.weight, 1e-5))
        with self.assertRaisesRegex(LookupError, "rmsnorm_h64"):
            ops.rmsnorm_h64(small, self.weight, eps=0.5)

    def test_operators_are_what_torch_wants(self):
        y = torch.empty_like(self.x)
        for op, arguments in ((ops.rmsnorm_h64, (self.x, self.weight)),
                              (ops.rmsnorm_h64_out, (self.x, self.weight, y)),
                              (ops.rope_append_h4_kv2_d64_ps16, rope_arguments()),
                              (ops.gqa_paged_decode_h4_kv2_d64_ps16, attention_arguments())):
            with self.subTest(op):
                results = torch.library.opcheck(op.default, arguments)
                self.assertEqual(set(results.values()), {"SUCCESS"})

    def test_compiles_into_one_graph(self):
        def block(x, weight):
            return ops.rmsnorm_h64(x + x, weight) * 2

        for backend in ("eager", "aot_eager"):
            torch._dynamo.reset()
            torch._dynamo.utils.counters.clear()
            compiled = torch.compile(block, fullgraph=True, backend=backend, dynamic=True)
            for rows in (3, 5, 17):
                x = torch.randn(rows, 64, dtype=torch.bfloat16)
                torch.testing.assert_close(compiled(x, self.weight), block(x, self.weight))
            self.assertEqual(torch._dynamo.utils.counters["stats"]["unique_graphs"], 1)

    def test_compiles_what_is_written_in_place(self):
        def block(*arguments):
            q = ops.rope_append_h4_kv2_d64_ps16(*arguments)
            return q.float().sum() + arguments[-1].float().sum()

        arguments, same = rope_arguments(), None
        same = tuple(a.clone() for a in arguments)
        compiled = torch.compile(block, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(*arguments), block(*same))
        torch.testing.assert_close(arguments[-1], same[-1])
        self.assertGreater(arguments[-1].count_nonzero(), 0)

    def test_lookup_or_original(self):
        """As docs/engines.md has it, to the letter."""
        page = pathlib.Path(__file__).resolve().parents[4] / "docs/engines.md"
        code = next(part for part in page.read_text().split("```python\n") if "def find_op" in part)
        scope = {}
        exec(code.split("```")[0], scope)
        find_op = scope["find_op"]
        self.assertIs(find_op("rmsnorm_h64", self.x, self.weight), ops.rmsnorm_h64)
        self.assertIs(find_op("rmsnorm_h64", self.x, self.weight, eps=1e-5), ops.rmsnorm_h64)
        for arguments, parameters in (
                (("rmsnorm_h65", self.x, self.weight), {}),
                (("rmsnorm_h64", self.x, self.weight), {"eps": 0.5}),
                (("rmsnorm_h64", self.x.half(), self.weight), {}),
                (("rmsnorm_h64", self.x[0], self.weight), {}),
                (("rmsnorm_h64", self.x.to("meta"), self.weight.to("meta")), {})):
            with self.subTest(arguments[0]):
                self.assertIsNone(find_op(*arguments, **parameters))

    def test_says_what_helps(self):
        x = torch.randn(193, dtype=torch.bfloat16)[1:].view(3, 64)
        with self.assertRaisesRegex(ValueError, r"\.clone\(\)"):
            ops.rmsnorm_h64(x, self.weight)
        close(ops.rmsnorm_h64(x.clone(), self.weight), rmsnorm(x, self.weight))
        x = torch.randn(3, 128, dtype=torch.bfloat16)[:, ::2]
        with self.assertRaisesRegex(ValueError, r"\.contiguous\(\)"):
            ops.rmsnorm_h64(x, self.weight)
        close(ops.rmsnorm_h64(x.contiguous(), self.weight), rmsnorm(x, self.weight))

    def test_refuses_what_doesnt_fit(self):
        x, weight = self.x, self.weight
        for arguments, error, message in (
                ((x, weight[:63]), ValueError, "hidden_size is 64"),
                ((x[0], weight), ValueError, "hidden_states has 1 dimensions"),
                ((x.float(), weight), ValueError, "hidden_states"),
                ((torch.randn(3, 128, dtype=torch.bfloat16)[:, ::2], weight), ValueError,
                 "hidden_states"),
                ((torch.randn(193, dtype=torch.bfloat16)[1:].view(3, 64), weight), ValueError,
                 "hidden_states")):
            with self.subTest(message), self.assertRaisesRegex(error, message):
                ops.rmsnorm_h64(*arguments)
        with self.assertRaisesRegex(ValueError, "hidden_size is 64"):
            ops.rmsnorm_h64(x.to("meta"), weight[:63].to("meta"))


if __name__ == "__main__":
    unittest.main()
