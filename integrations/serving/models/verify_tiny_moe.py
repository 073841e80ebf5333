#!/usr/bin/env python3
"""Check a packed INT4 MoE checkpoint against transformers and against its golden.json.

The experts are unpacked here by the format's definition (nothing is shared with the training script), the
result is loaded into transformers' Qwen3MoeForCausalLM, and every case of golden.json is recomputed:
the tokenizer gives the prompt's ids, the five best next tokens and their logits, 64 greedy tokens.

    python3 verify_tiny_moe.py [FOLDER]                        check; without FOLDER, the fib-tiny-moe beside this
    python3 verify_tiny_moe.py [FOLDER] --write prompts.json   make golden.json from [{name, text, tokens}]
    python3 verify_tiny_moe.py [FOLDER] --tokens val.bin       also: held-out loss in bf16

Needs torch, transformers, tokenizers, safetensors, numpy. A greedy token may differ from the golden one only
where the two best logits are closer than --tolerance; the case is then compared no further.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import load_file, save_file

GREEDY = 64


def unpack(packed, scale, shape):
    """int32 (out, in / 8), bf16 (out, in / 32) -> fp32 (out, in), exactly (nibble - 8) * scale."""
    nibbles = (packed.unsqueeze(-1) >> (4 * torch.arange(8, dtype=torch.int32))) & 15
    values = (nibbles - 8).flatten(1).float()
    return (values * scale.float().repeat_interleave(32, dim=1)).reshape(tuple(shape.tolist()))


def check_format(tensors, config):
    """Names, types and shapes are exactly those that the configuration implies."""
    hidden, inner, heads = config["hidden_size"], config["moe_intermediate_size"], config["num_attention_heads"]
    kv, dim = config["num_key_value_heads"], config["head_dim"]
    bf16, expected = torch.bfloat16, {}
    expected["model.embed_tokens.weight"] = (bf16, (config["vocab_size"], hidden))
    expected["model.norm.weight"] = (bf16, (hidden,))
    for n in range(config["num_hidden_layers"]):
        at = f"model.layers.{n}."
        for name, shape in {
            "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,), "self_attn.q_norm": (dim,),
            "self_attn.k_norm": (dim,), "self_attn.q_proj": (heads * dim, hidden),
            "self_attn.k_proj": (kv * dim, hidden), "self_attn.v_proj": (kv * dim, hidden),
            "self_attn.o_proj": (hidden, heads * dim), "mlp.gate": (config["num_experts"], hidden),
        }.items():
            expected[f"{at}{name}.weight"] = (bf16, shape)
        for e in range(config["num_experts"]):
            for name, rows, columns in (("gate", inner, hidden), ("up", inner, hidden), ("down", hidden, inner)):
                of = f"{at}mlp.experts.{e}.{name}_proj.weight_"
                expected[of + "packed"] = (torch.int32, (rows, columns // 8))
                expected[of + "scale"] = (bf16, (rows, columns // 32))
                expected[of + "shape"] = (torch.int64, (2,))
    found = {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()}
    assert found == expected, sorted(set(found.items()) ^ set(expected.items()))[:4]
    for name, t in tensors.items():
        if name.endswith("_scale"):
            assert bool((t > 0).all()), name
        elif name.endswith("_shape"):
            shape = tensors[name.replace("_shape", "_packed")].shape
            assert t.tolist() == [shape[0], shape[1] * 8], name
        elif t.is_floating_point():
            assert bool(t.isfinite().all()), name


def dequantise(tensors):
    plain = {}
    for name, t in tensors.items():
        if name.endswith(".weight_packed"):
            stem = name[: -len("_packed")]
            plain[stem] = unpack(t, tensors[stem + "_scale"], tensors[stem + "_shape"])
        elif not name.endswith((".weight_scale", ".weight_shape")):
            plain[name] = t.float()
    return plain


def load_transformers(folder, plain, dtype, device):
    """The dequantised weights through transformers' own loader, as any unquantised checkpoint."""
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        (temporary / "config.json").write_text(json.dumps(config))
        save_file({k: v.contiguous() for k, v in plain.items()}, temporary / "model.safetensors",
                  metadata={"format": "pt"})
        options = {"attn_implementation": "eager" if dtype == torch.float32 else "sdpa"}
        if int(transformers.__version__.split(".")[0]) >= 5:
            options["experts_implementation"] = "eager"
        model, info = transformers.Qwen3MoeForCausalLM.from_pretrained(
            temporary, dtype=dtype, output_loading_info=True, **options)
    for problem in ("unexpected_keys", "mismatched_keys", "missing_keys"):
        left = set(info[problem]) - {"lm_head.weight"}  # tied to the embedding
        assert not left, (problem, sorted(left)[:4])
    rope = getattr(model.config, "rope_parameters", None) or {"rope_theta": model.config.rope_theta}
    assert float(rope["rope_theta"]) == float(config["rope_theta"])
    return model.to(device).eval()


@torch.no_grad()
def run_case(model, ids):
    """The last position's five best tokens, then GREEDY tokens (the end-of-text token does not stop it)."""
    step = model(torch.tensor([ids], device=model.device), use_cache=True)
    top = step.logits[0, -1].float().topk(5)
    greedy, margins = [], []
    for _ in range(GREEDY):
        best = step.logits[0, -1].float().topk(2)
        greedy.append(best.indices[0].item())
        margins.append(round((best.values[0] - best.values[1]).item(), 5))
        step = model(torch.tensor([greedy[-1:]], device=model.device), use_cache=True,
                     past_key_values=step.past_key_values)
    return [{"id": i, "logit": v} for i, v in zip(top.indices.tolist(), top.values.tolist())], greedy, margins


@torch.no_grad()
def held_out_loss(model, path, seq, rows=16):
    import numpy as np

    ids = torch.from_numpy(np.fromfile(path, np.int16)).long()
    windows = ids[: (len(ids) - 1) // seq * seq + 1].unfold(0, seq + 1, seq)
    total = 0.0
    for batch in windows.split(rows):
        logits = model(batch[:, :-1].to(model.device), use_cache=False).logits.float()
        total += F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten().to(model.device), reduction="sum").item()
    return total / (len(windows) * seq)


def write_golden(folder, prompts, tokenizer, model, rounded):
    cases = []
    for prompt in prompts:
        ids = tokenizer.encode(prompt["text"])[: prompt.get("tokens")]
        while tokenizer.encode(tokenizer.decode(ids)) != ids:  # cut inside a word
            ids = ids[:-1]
        text = tokenizer.decode(ids)
        top5, greedy, margins = run_case(model, ids)
        with torch.no_grad():
            other = rounded(torch.tensor([ids], device=rounded.device)).logits[0, -1].float()
        for entry in top5:
            entry["token"] = tokenizer.decode([entry["id"]])
        cases.append({
            "name": prompt["name"], "prompt": text, "prompt_ids": ids, "top5": top5,
            "bf16_rounded_weights_max_diff": round(max(abs(other[e["id"]].item() - e["logit"]) for e in top5), 5),
            "greedy_ids": greedy, "greedy_text": tokenizer.decode(greedy), "greedy_margins": margins})
        print(f"{prompt['name']} ({len(ids)} tokens): {text[-60:]!r} -> {cases[-1]['greedy_text']!r}")
    golden = {
        "computed": f"transformers {transformers.__version__}, Qwen3MoeForCausalLM, fp32 on the CPU, eager attention",
        "weights": "experts exactly (nibble - 8) * scale in fp32; everything else bf16 widened to fp32",
        "fields": {
            "top5": "next-token logits after the last prompt token",
            "bf16_rounded_weights_max_diff": "largest change of those five when dequantised weights are rounded to bf16",
            "greedy_ids": f"{GREEDY} tokens by argmax; the end-of-text token does not stop it",
            "greedy_margins": "best minus second-best logit at each greedy step: below the error of an "
                              "implementation, the two tokens may swap",
        },
        "cases": cases}
    (folder / "golden.json").write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


def check_golden(folder, tokenizer, model, tolerance):
    failures = 0
    for case in json.loads((folder / "golden.json").read_text())["cases"]:
        top5, greedy, _ = run_case(model, case["prompt_ids"])
        difference = max(abs(a["logit"] - b["logit"]) for a, b in zip(top5, case["top5"]))
        first = next((i for i, (a, b) in enumerate(zip(greedy, case["greedy_ids"])) if a != b), None)
        good = {
            "tokenizer": tokenizer.encode(case["prompt"]) == case["prompt_ids"],
            "text": tokenizer.decode(case["greedy_ids"]) == case["greedy_text"],
            "top5": [e["id"] for e in top5] == [e["id"] for e in case["top5"]],
            "logits": difference <= tolerance,
            "greedy": first is None or case["greedy_margins"][first] <= tolerance,
        }
        failures += not all(good.values())
        print(case["name"], "ok" if all(good.values()) else [k for k, v in good.items() if not v],
              f"largest logit difference {difference:.2e}, greedy", "same" if first is None else f"differs at {first}")
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path(__file__).resolve().parent / "fib-tiny-moe")
    parser.add_argument("--write", type=Path, help="write golden.json from this list of prompts")
    parser.add_argument("--tokens", type=Path, help="held-out token file (uint16)")
    parser.add_argument("--seq", type=int, default=1024)
    parser.add_argument("--device", default="cpu", help="for --tokens")
    parser.add_argument("--tolerance", type=float, default=2e-3)
    args = parser.parse_args()

    torch.set_num_threads(min(2, torch.get_num_threads()))  # matrices this small are not worth sharing
    config = json.loads((args.folder / "config.json").read_text())
    tensors = load_file(args.folder / "model.safetensors")
    check_format(tensors, config)
    plain = dequantise(tensors)
    print(f"format ok: {len(tensors)} tensors, {sum(t.numel() for t in plain.values())} weights")
    tokenizer = transformers.AutoTokenizer.from_pretrained(args.folder)
    assert len(tokenizer) == config["vocab_size"] and tokenizer.eos_token_id == config["eos_token_id"]
    model = load_transformers(args.folder, plain, torch.float32, "cpu")
    if args.write:
        rounded = load_transformers(args.folder, {k: v.bfloat16().float() for k, v in plain.items()},
                                    torch.float32, "cpu")
        write_golden(args.folder, json.loads(args.write.read_text()), tokenizer, model, rounded)
    failures = check_golden(args.folder, tokenizer, model, args.tolerance)
    if args.tokens:
        model = load_transformers(args.folder, {k: v.bfloat16() for k, v in plain.items()}, torch.bfloat16, args.device)
        print(f"held-out loss, bf16, length {args.seq}: {held_out_loss(model, args.tokens, args.seq):.4f}")
    print("passed" if not failures else f"{failures} cases failed")
    sys.exit(failures > 0)


if __name__ == "__main__":
    main()
