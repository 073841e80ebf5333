#!/usr/bin/env python3
"""A package on a Hopper card with torch: operators, graphs, streams, torch.compile and tvm-ffi.

    cuda_torch_test.py EXPORT_SOLUTIONS SOLUTIONS CACHE_FOLDER BUILD_WHEEL

Exports the house's solutions for sm_90a first, which needs NVRTC. Skipped without torch or a card.
"""

import importlib.util
import pathlib
import subprocess
import sys
import tempfile
import unittest

import unpacked

try:
    import torch
except ImportError as missing:
    unpacked.skip_without("torch", missing)
if not torch.cuda.is_available() or torch.cuda.get_device_capability() != (9, 0):
    unpacked.skip_without("a card of compute capability 9.0", "torch sees none")

EXPORT, SOLUTIONS, CACHE, BUILD_WHEEL = sys.argv[1:5]
del sys.argv[1:5]

RMSNORM = "rmsnorm_h4096"
GEMM = "gemm_n4096_k1024"
DECODE = "gqa_paged_decode_h32_kv4_d128_ps16"
PREFILL = "gqa_paged_prefill_causal_h32_kv4_d128_ps16"
ROPE = "rope_append_h32_kv8_d128_ps16"

scratch = tempfile.TemporaryDirectory()
PACKAGE = pathlib.Path(scratch.name) / "package"
subprocess.run([EXPORT, SOLUTIONS, "cuda", PACKAGE, CACHE, RMSNORM, GEMM, DECODE, PREFILL, ROPE],
               check=True)
unpacked.import_from(PACKAGE, BUILD_WHEEL)

import fib_kernels  # noqa: E402
import fib_kernels.torch_ops  # noqa: E402

ops = torch.ops.fib_kernels
rmsnorm = getattr(ops, RMSNORM)
gemm = getattr(ops, GEMM)
decode = getattr(ops, DECODE)


def expected_rmsnorm(x, weight):
    eps = next(s for s in fib_kernels.signatures() if s.name == RMSNORM).parameters["eps"]
    return torch.nn.functional.rms_norm(x.float(), (4096,), weight.float(), eps)


def decode_arguments(requests, tokens):
    """`requests` of `tokens` each, pages of 16 anywhere in the cache."""
    pages = -(-tokens // 16)
    cache = (requests * pages + 3, 16, 4, 128)
    return (torch.randn(requests, 32, 128, dtype=torch.bfloat16, device="cuda"),
            torch.randn(cache, dtype=torch.bfloat16, device="cuda"),
            torch.randn(cache, dtype=torch.bfloat16, device="cuda"),
            torch.arange(0, requests * pages + 1, pages, dtype=torch.int32, device="cuda"),
            torch.randperm(requests * pages, device="cuda").to(torch.int32),
            torch.full((requests,), tokens - 16 * (pages - 1), dtype=torch.int32, device="cuda"),
            128 ** -0.5)


def expected_decode(q, k_cache, v_cache, indptr, indices, last, scale):
    outputs = []
    for i, (low, high) in enumerate(zip(indptr[:-1].tolist(), indptr[1:].tolist())):
        tokens = (high - low - 1) * 16 + int(last[i])
        k, v = (cache[indices[low:high].long()].flatten(0, 1)[:tokens].transpose(0, 1)
                for cache in (k_cache, v_cache))
        k, v = (heads.repeat_interleave(8, dim=0).float() for heads in (k, v))
        outputs.append(torch.nn.functional.scaled_dot_product_attention(
            q[i, :, None].float(), k, v, scale=scale).squeeze(1))
    return torch.stack(outputs)


def close(actual, expected):
    torch.testing.assert_close(actual.float(), expected.float(), rtol=0.02, atol=0.02)


class CudaTorchTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(1)
        self.x = torch.randn(7, 4096, dtype=torch.bfloat16, device="cuda")
        self.weight = torch.randn(4096, dtype=torch.bfloat16, device="cuda")

    def test_says_what_runs_here(self):
        hardware = fib_kernels.info()["hardware"]["cuda"]
        self.assertIn("NVIDIA", hardware["name"])
        choice = fib_kernels.choose(RMSNORM, self.x, self.weight)
        self.assertEqual(choice.solution, "rmsnorm-rows")

    def test_computes_what_torch_does(self):
        expected = expected_rmsnorm(self.x, self.weight)
        close(rmsnorm(self.x, self.weight), expected)
        close(fib_kernels.apply(RMSNORM, self.x, self.weight), expected)
        for rows in (1, 33, 300):
            a = torch.randn(rows, 1024, dtype=torch.float16, device="cuda")
            b = torch.randn(4096, 1024, dtype=torch.float16, device="cuda") / 32
            close(gemm(a, b), a.float() @ b.float().T)
        for requests, tokens in ((1, 1), (3, 100), (17, 513)):
            arguments = decode_arguments(requests, tokens)
            close(decode(*arguments)[0], expected_decode(*arguments))

    def test_writes_in_place(self):
        qkv = torch.randn(2, (32 + 8 + 8) * 128, dtype=torch.bfloat16, device="cuda")
        cos_sin = torch.cat([torch.ones(8, 64), torch.zeros(8, 64)], dim=-1).cuda()
        positions = torch.tensor([3, 5], dtype=torch.int32, device="cuda")
        slots = torch.tensor([17, 4], dtype=torch.int32, device="cuda")
        k, v = (torch.zeros(2, 16, 8, 128, dtype=torch.bfloat16, device="cuda") for _ in range(2))
        q = getattr(ops, ROPE)(qkv, cos_sin, positions, slots, k, v)
        # Cosine 1 and sine 0 turn nothing.
        torch.testing.assert_close(q.flatten(1), qkv[:, :4096])
        torch.testing.assert_close(k.view(32, -1)[slots.long()], qkv[:, 4096:5120])
        torch.testing.assert_close(v.view(32, -1)[slots.long()], qkv[:, 5120:])

    def test_follows_torchs_stream(self):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)  # so that another stream would read x too early
            x = self.x * 3
            y = rmsnorm(x, self.weight)
        stream.synchronize()
        close(y, expected_rmsnorm(self.x * 3, self.weight))

    def test_is_captured_into_graphs(self):
        warm = decode_arguments(2, 40)
        decode(*warm)
        rmsnorm(self.x, self.weight)
        # Other shapes than those: they are planned while the graph is captured.
        arguments = decode_arguments(5, 200)
        x = torch.randn(11, 4096, dtype=torch.bfloat16, device="cuda")
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = rmsnorm(x, self.weight)
            z = rmsnorm(y, self.weight)
            attended, _ = decode(*arguments)
        for seed in (2, 3):
            torch.manual_seed(seed)
            x.copy_(torch.randn_like(x))
            fresh = decode_arguments(5, 200)
            for captured, value in zip(arguments[:-1], fresh[:-1]):
                captured.copy_(value)
            graph.replay()
            close(z, expected_rmsnorm(expected_rmsnorm(x, self.weight).bfloat16(), self.weight))
            close(attended, expected_decode(*fresh))

    def test_prefill_is_planned_by_host_copies(self):
        # Two requests, of 3 tokens after 17 and of 40 after none.
        queries, keys = [3, 40], [20, 40]
        pages = [-(-n // 16) for n in keys]
        k_cache, v_cache = (torch.randn(sum(pages) + 2, 16, 4, 128, dtype=torch.bfloat16,
                                        device="cuda") for _ in range(2))
        q = torch.randn(sum(queries), 32, 128, dtype=torch.bfloat16, device="cuda")
        host = {"qo_indptr": torch.tensor([0, 3, 43], dtype=torch.int32),
                "kv_indptr": torch.tensor([0, pages[0], sum(pages)], dtype=torch.int32),
                "kv_last_page_len": torch.tensor([n - 16 * (p - 1) for n, p in zip(keys, pages)],
                                                 dtype=torch.int32)}
        indices = torch.randperm(sum(pages), device="cuda").to(torch.int32)
        arguments = (q, k_cache, v_cache, host["qo_indptr"].cuda(), host["kv_indptr"].cuda(),
                     indices, host["kv_last_page_len"].cuda(), 128 ** -0.5)
        self.assertIsNone(fib_kernels.choose(PREFILL, *arguments))
        with self.assertRaises(NotImplementedError):
            fib_kernels.apply(PREFILL, *arguments)
        self.assertIsNotNone(fib_kernels.choose(PREFILL, *arguments, host=host))
        output, _ = fib_kernels.apply(PREFILL, *arguments, host=host)
        first_query = first_page = 0
        for num_queries, num_keys, num_pages in zip(queries, keys, pages):
            own = indices[first_page:first_page + num_pages].long()
            k, v = (cache[own].flatten(0, 1)[:num_keys].transpose(0, 1)
                    .repeat_interleave(8, dim=0).float() for cache in (k_cache, v_cache))
            rows = q[first_query:first_query + num_queries].transpose(0, 1).float()
            mask = torch.ones(num_queries, num_keys, dtype=torch.bool, device="cuda").tril(
                num_keys - num_queries)
            expected = torch.nn.functional.scaled_dot_product_attention(
                rows, k, v, attn_mask=mask, scale=128 ** -0.5).transpose(0, 1)
            close(output[first_query:first_query + num_queries], expected)
            first_query += num_queries
            first_page += num_pages

    def test_compiles(self):
        def block(x, weight):
            return rmsnorm(x + x, weight) * 2

        modes = [{"backend": "aot_eager"}]
        if importlib.util.find_spec("triton"):
            modes += [{"backend": "inductor"}, {"mode": "reduce-overhead"}]
        for mode in modes:
            with self.subTest(mode):
                torch._dynamo.reset()
                compiled = torch.compile(block, fullgraph=True, **mode)
                for _ in range(3):
                    close(compiled(self.x, self.weight), block(self.x, self.weight))

    def test_refuses_tensors_of_two_places(self):
        for arguments in ((self.x, self.weight.cpu()), (self.x.cpu(), self.weight)):
            with self.assertRaises((ValueError, NotImplementedError, RuntimeError)):
                rmsnorm(*arguments)
        with self.assertRaisesRegex(ValueError, "hidden_states"):
            rmsnorm(torch.randn(7 * 4096 + 1, dtype=torch.bfloat16, device="cuda")[1:].view(7, -1),
                    self.weight)

    @unittest.skipUnless(importlib.util.find_spec("tvm_ffi"), "tvm-ffi is missing")
    def test_is_called_through_tvm_ffi(self):
        import tvm_ffi

        module = tvm_ffi.load_module(fib_kernels.library_path())
        y = torch.empty_like(self.x)
        module[RMSNORM](self.x, self.weight, y)
        close(y, expected_rmsnorm(self.x, self.weight))
        arguments = decode_arguments(3, 700)  # with workspace, from torch's allocator
        output = torch.empty_like(arguments[0])
        lse = torch.empty(3, 32, device="cuda")
        graph = torch.cuda.CUDAGraph()
        module[DECODE](*arguments, output, lse)
        with torch.cuda.graph(graph):
            module[DECODE](*arguments, output, lse)
        output.zero_()
        graph.replay()
        close(output, expected_decode(*arguments))
        with self.assertRaisesRegex(ValueError, "output"):
            module[RMSNORM](self.x, self.weight, y[:3])


if __name__ == "__main__":
    unittest.main()
