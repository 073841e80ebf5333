#!/usr/bin/env python3
"""How fast transformers decodes a packed INT4 MoE checkpoint on the CPU, as an ordinary bf16 model.

    transformers_decode.py OUT.json [--model FOLDER] [--threads N] [--batch 1,8,64] [--seconds N]
                           [--compile-seconds N]

The experts are dequantised to bf16 and the model is loaded by transformers' own loader. Sequences of random
tokens are prefilled, which is not timed, then decoded greedily with a KV cache. transformers has several ways to
run experts; each is measured, without torch.compile (growing cache) and with it (static cache; prefill is not
compiled). Each way runs in a process of its own, so that one that fails or takes too long costs no other; what
does is reported with its reason. With --compile-seconds all that torch.compile needs is first compiled side by
side into a cache of the run's own; what is timed then finds it there, one way after the other.
Exit code 77: torch or transformers is missing.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODELS = Path(__file__).resolve().parents[2] / "integrations/serving/models"
EXPERTS = ("eager", "batched_mm", "grouped_mm")  # the last is the slowest on a CPU
SKIPPED = 77


def missing():
    try:
        import safetensors  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


def load_bf16(folder, experts):
    import torch
    from safetensors.torch import load_file

    sys.path.insert(0, str(MODELS))
    from verify_tiny_moe import dequantise, load_transformers

    plain = dequantise(load_file(folder / "model.safetensors"))
    model = load_transformers(folder, {name: t.bfloat16() for name, t in plain.items()}, torch.bfloat16, "cpu")
    if experts != "eager":
        model.set_experts_implementation(experts)
    return model


def decode(model, step, prompts, output_tokens, static_length=None):
    """Seconds from the first generated token, which prefill gives, to the last; static_length: of the cache."""
    import torch
    import transformers

    prompt_tokens = prompts.shape[1]
    cache = (transformers.StaticCache(config=model.config, max_cache_len=static_length) if static_length else
             transformers.DynamicCache(config=model.config))
    token = model(prompts, past_key_values=cache, use_cache=True, logits_to_keep=1).logits.argmax(-1)
    start = time.perf_counter()
    for position in range(prompt_tokens, prompt_tokens + output_tokens - 1):
        token = step(token, position_ids=torch.tensor([[position]]), past_key_values=cache,
                     use_cache=True).logits.argmax(-1)
    return time.perf_counter() - start


def measure_way(args, way):
    """One way, all batches: a line of JSON for each, as soon as it is known."""
    import torch

    torch.set_num_threads(args.threads)
    torch._dynamo.config.recompile_limit = 64  # code that is broken into parts is compiled for every layer
    model = load_bf16(args.model, way["experts"])
    with torch.inference_mode():
        for batch in args.batch:
            torch.compiler.reset()  # shapes are never dynamic
            step = torch.compile(model.forward, mode="default", dynamic=False) if way["compile"] else model.forward
            torch.manual_seed(batch)
            prompts = torch.randint(model.config.vocab_size, (batch, args.prompt_tokens))
            # Another length of the cache would be compiled anew.
            length = args.prompt_tokens + args.output_tokens if way["compile"] else None
            decode(model, step, prompts, 6, length)  # compiles, fills caches
            seconds = decode(model, step, prompts, args.output_tokens, length)
            row = {**way, "batch": batch, "decode_tokens_per_s": batch * (args.output_tokens - 1) / seconds}
            print(json.dumps(row), flush=True)


def last_words(stderr):
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line.split(":")[0]]
    return (named or lines or ["no message"])[-1][:300]


def start_way(args, way, batches, stdout, stderr, **environment):
    """A process that measures these batches; the code it compiles goes into the run's cache, or comes from it."""
    command = [sys.executable, __file__, "-", "--way", json.dumps(way), "--model", str(args.model),
               "--threads", str(args.threads), "--batch", ",".join(map(str, batches)),
               "--prompt-tokens", str(args.prompt_tokens), "--output-tokens", str(args.output_tokens)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(args.threads),
                   "TORCHINDUCTOR_CACHE_DIR": str(args.cache), **environment}
    # A group of its own, so that the compilers it starts end with it.
    return subprocess.Popen(command, env=environment, start_new_session=True, stdout=stdout, stderr=stderr)


def stop(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def compile_ahead(args, ways):
    """Fills the cache: every compiled way and batch at once. Whatever fails here fails again when it is timed."""
    processes = [start_way(args, way, [batch], subprocess.DEVNULL, subprocess.DEVNULL,
                           OMP_WAIT_POLICY="passive", TORCHINDUCTOR_COMPILE_THREADS="1")
                 for way in ways if way["compile"] for batch in args.batch]
    deadline = time.monotonic() + args.compile_seconds
    for process in processes:
        try:
            process.wait(timeout=max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            pass
        finally:
            stop(process)
    # What was being linked when its process was stopped is half there, and would be taken for whole.
    for library in args.cache.rglob("*.so"):
        if library.stat().st_mtime > time.time() - 10:
            library.unlink()


def run_way(args, way, seconds):
    """Rows of a way; those that did not come have an error."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        reason = None
        process = start_way(args, way, args.batch, out, err)
        try:
            if process.wait(timeout=seconds) != 0:
                err.seek(0)
                reason = last_words(err.read())
        except subprocess.TimeoutExpired:
            reason = f"stopped after {seconds:.0f} s"
        finally:
            stop(process)
        out.seek(0)
        rows = [json.loads(line) for line in out.read().splitlines() if line.startswith("{")]
    came = {row["batch"] for row in rows}
    return rows + [{**way, "batch": batch, "error": reason} for batch in args.batch if batch not in came]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=MODELS / "fib-tiny-moe")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--batch", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8, 64])
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=200, help="for all ways together")
    parser.add_argument("--compile-seconds", type=float, default=0, help="beforehand, for compiling side by side")
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", type=json.loads, help=argparse.SUPPRESS)
    args = parser.parse_args()
    problem = missing()
    if problem:
        print(f"transformers is not measured: {problem}")
        sys.exit(SKIPPED)
    if args.way:
        measure_way(args, args.way)
        return

    import torch
    import transformers

    ways = [{"compile": is_compiled, "experts": experts} for experts in EXPERTS for is_compiled in (False, True)]
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        args.cache = args.cache or Path(cache)
        if args.compile_seconds > 0:
            compile_ahead(args, ways)
        deadline = time.monotonic() + args.seconds
        for left, way in zip(range(len(ways), 0, -1), ways):
            # A way may use twice its share of what is left; most use less.
            remaining = max(deadline - time.monotonic(), 0)
            rows += run_way(args, way, min(remaining, max(2 * remaining / left, 10)))
    args.out.write_text(json.dumps({
        "torch": torch.__version__, "transformers": transformers.__version__, "threads": args.threads,
        "prompt_tokens": args.prompt_tokens, "output_tokens": args.output_tokens, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
