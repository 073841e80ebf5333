#!/usr/bin/env python3
"""One table of decode speed from what `fib bench --json` and transformers_decode.py wrote, and one JSON file.

    decode_table.py OUT.json FIB.json [--transformers FILE] [--gbps N]

With --transformers: the fastest of transformers' ways to run experts, torch.compile off and on, and fib's ratio
to the faster of the two. Without: the fraction of the byte floor, which is the time that the memory of the card
would take, by its datasheet, to read what a step can't do without.
"""

import argparse
import json
from pathlib import Path

# GB/s, from NVIDIA's datasheets; the first whose name is part of the card's counts.
DATASHEET = {"H200": 4800, "H100 PCIe": 2000, "H100 NVL": 3900, "H100": 3350, "B200": 8000,
             "A100-SXM4-80GB": 2039, "A100 80GB PCIe": 1935, "A100": 1555, "L40S": 864, "RTX 4090": 1008}


def print_table(head, rows):
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths)))


def fastest(rows, batch, is_compiled):
    ran = [row for row in rows
           if row["batch"] == batch and row["compile"] == is_compiled and "error" not in row]
    return max(ran, key=lambda row: row["decode_tokens_per_s"], default=None)


def beside_transformers(fib, other):
    def cell(row):
        return f"{row['decode_tokens_per_s']:.1f} ({row['experts']})" if row else "-"

    table = []
    for own in fib["batches"]:
        off, on = (fastest(other["rows"], own["batch"], is_compiled) for is_compiled in (False, True))
        best = max((row["decode_tokens_per_s"] for row in (off, on) if row), default=None)
        own["ratio_to_transformers"] = own["decode_tokens_per_s"] / best if best else None
        table.append([str(own["batch"]), f"{own['decode_tokens_per_s']:.1f}", cell(off), cell(on),
                      f"{own['ratio_to_transformers']:.1f}x" if best else "-"])
    print(f"{fib['model']}, {fib['device']}, {fib['threads']} threads, prompts of {fib['prompt_tokens']} tokens; "
          f"decode tokens/s")
    print_table(["batch", "fib, int4", "transformers, bf16", "with torch.compile", "ratio"], table)
    for row in other["rows"]:
        if "error" in row:
            way = "compiled " * row["compile"] + row["experts"]
            print(f"  not measured: {way}, batch {row['batch']}: {row['error']}")


def beside_floor(fib, gbps):
    table = []
    for own in fib["batches"]:
        own["floor_fraction"] = own["bandwidth_gbps"] / gbps if gbps else None
        table.append([str(own["batch"]), f"{own['decode_tokens_per_s']:.0f}", f"{own['step_ms']:.3f}",
                      f"{own['host_ms_per_step']:.3f}", f"{own['bytes_per_step'] / 1e9:.3f}",
                      f"{own['bandwidth_gbps']:.0f}", f"{100 * own['floor_fraction']:.1f} %" if gbps else "-",
                      f"{own['prefill_tokens_per_s']:.0f}"])
    known = f", {gbps:g} GB/s by its datasheet" if gbps else ""
    print(f"{fib['model']}, {fib['device']}{known}; prompts of {fib['prompt_tokens']} tokens")
    print_table(["batch", "tokens/s", "step ms", "host ms", "floor GB", "GB/s", "of the floor",
                 "prefill tokens/s"], table)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("fib", type=Path)
    parser.add_argument("--transformers", type=Path)
    parser.add_argument("--gbps", type=float, help="of the memory, where the table here lacks the card")
    args = parser.parse_args()
    fib = json.loads(args.fib.read_text())
    result = {"fib": fib}
    if args.transformers:
        result["transformers"] = json.loads(args.transformers.read_text())
        beside_transformers(fib, result["transformers"])
    else:
        result["datasheet_gbps"] = args.gbps or next(
            (gbps for name, gbps in DATASHEET.items() if name in fib["device"]), None)
        beside_floor(fib, result["datasheet_gbps"])
    args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
