#!/usr/bin/env python3
"""The bundled model layer by layer: fib, and transformers in bf16, against transformers in fp32.

    compare_layers.py DUMP OUT.json [--model FOLDER] [--device cpu]

DUMP is what tests/integrations/serving/model/dump_layers wrote. The error of a row is the RMS of the difference
over the RMS of the fp32 values; a row's last column says how fib's error compares with that of bf16 transformers,
which rounds as often as fib does. Where two experts are nearly as likely, rounding swaps them for a token: the
median over tokens is not moved by that, the RMS is. Exit code 1: somewhere the median is above --bound times
transformers'; 77: torch or transformers is missing.
"""

import argparse
import json
import sys
from pathlib import Path

MODELS = Path(__file__).resolve().parents[2] / "integrations/serving/models"

try:
    import torch
    from safetensors.torch import load_file

    sys.path.insert(0, str(MODELS))
    from verify_tiny_moe import dequantise, load_transformers
except ImportError as missing:
    print(f"layers are not compared: {missing}")
    sys.exit(77)


@torch.no_grad()
def layers_of(model, ids):
    """Name -> fp32 [tokens, width]: the residual stream after embedding and each layer, and the last logits."""
    stream = {}
    hooks = [model.model.embed_tokens.register_forward_hook(
        lambda _, __, out: stream.update({"embedding": out[0].float().cpu()}))]
    # Not output_hidden_states, whose last entry has gone through the final norm.
    for n, layer in enumerate(model.model.layers):
        hooks.append(layer.register_forward_hook(lambda _, __, out, name=f"layer.{n}": stream.update(
            {name: (out[0] if isinstance(out, tuple) else out).reshape(len(ids), -1).float().cpu()})))
    logits = model(torch.tensor([ids], device=model.device), use_cache=False).logits
    for hook in hooks:
        hook.remove()
    return {**stream, "logits": logits[0, -1:].float().cpu()}


def error(values, exact):
    """Relative RMS difference of all, and the median over tokens of each token's."""
    difference, size = (values.double() - exact.double()), exact.double()
    by_token = difference.norm(dim=1) / size.norm(dim=1)
    return {"rms": (difference.norm() / size.norm()).item(), "median": by_token.median().item()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dump", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=MODELS / "fib-tiny-moe")
    parser.add_argument("--device", default="cpu", help="that transformers computes bf16 on")
    parser.add_argument("--bound", type=float, default=3.0,
                        help="generous, because the logits are of a single token")
    args = parser.parse_args()

    dump = load_file(args.dump)
    ids = dump.pop("prompt_ids").tolist()
    plain = dequantise(load_file(args.model / "model.safetensors"))
    exact = layers_of(load_transformers(args.model, plain, torch.float32, "cpu"), ids)
    rounded_weights = {name: t.bfloat16() for name, t in plain.items()}
    rounded = layers_of(load_transformers(args.model, rounded_weights, torch.bfloat16, args.device), ids)
    assert set(dump) == set(exact), sorted(set(dump) ^ set(exact))

    print(f"{len(ids)} tokens; relative difference from transformers in fp32")
    print(f"  {'':<10} {'fib: RMS':>10} {'median':>10}   {'transformers bf16: RMS':>22} {'median':>10}  {'ratio':>6}")
    rows, is_worse = [], False
    for name in exact:
        own, other = error(dump[name], exact[name]), error(rounded[name], exact[name])
        ratio = own["median"] / other["median"] if other["median"] > 0 else None
        is_worse |= own["median"] > args.bound * other["median"]
        rows.append({"layer": name, "fib": own, "transformers_bf16": other, "ratio_of_medians": ratio})
        print(f"  {name:<10} {own['rms']:>10.2e} {own['median']:>10.2e}   {other['rms']:>22.2e} "
              f"{other['median']:>10.2e}  {'' if ratio is None else format(ratio, '6.2f'):>6}")
    args.out.write_text(json.dumps({"tokens": len(ids), "bound": args.bound, "layers": rows}, indent=1) + "\n")
    sys.exit(is_worse)


if __name__ == "__main__":
    main()
