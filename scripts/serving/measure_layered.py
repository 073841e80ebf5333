#!/usr/bin/env python3
"""Layered against chunked prefill at rising rates: the same requests through `fib replay`, policy by policy.

    measure_layered.py OUT.json FIB --cache FOLDER --trace FILE --rates 1,2,4 [options] -- [options of fib replay]

The trace has lengths alone (vidur's CSV); arrivals are drawn. Rates come in rising order, at each rate every
policy before the next rate, so that whatever time is left out at the end is left out for all policies alike.
The experts that a step reads are counted on the CPU and on a card; "least to most" of a run says that they weren't.
Exit code 1: a replay failed.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

HEAD = ["requests/s", "prefill", "TTFT mean", "P99", "TBT P99", "expert GB/request", "goodput/s", "output tokens/s"]


def numbers(kind):
    return lambda text: [kind(part) for part in text.split(",")]


def policies(args):
    layered = ["--prefill", "layered"] + (["--cohort-tokens", str(args.cohort)] if args.cohort else [])
    chunked = [(f"chunked {chunk}", ["--prefill", "chunked", "--chunk-tokens", str(chunk)]) for chunk in args.chunks]
    return [*chunked, ("layered", layered)]


def run_replay(args, rate, options, seconds):
    requests = args.warm_up + max(round(rate * args.window), args.at_least)
    command = [str(args.fib), "--cache", str(args.cache), "replay", *args.replay, *options,
               "--trace", str(args.trace), "--format", "vidur", "--rate", f"{rate:g}",
               "--requests", str(requests), "--warm-up", str(args.warm_up), "--no-prefix-cache", "--json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"error": f"stopped after {seconds:.0f} s"}
    try:
        report = json.loads(done.stdout)
    except ValueError:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"error": lines[0], "is_failure": True}
    if report["requests"]["failed"] > 0:
        return {"error": f"requests failed: {report['errors']}", "is_failure": True}
    return {"report": report}


def rows_of_other_rates(args, how):
    """What OUT has of rates that aren't measured now, if it was measured in the same way."""
    try:
        known = json.loads(args.out.read_text())
    except (FileNotFoundError, ValueError):
        return []
    if not args.keep_rates or {key: known.get(key) for key in how} != how:
        return []
    return [row for row in known["rows"] if row["rate"] not in args.rates]


def expert_gb(report):
    """Of a request, least and most; equal where the chosen experts are seen."""
    experts = report["engine"]["experts"]
    per_request = 1e9 * report["requests"]["finished"]
    return (experts.get("least_bytes", experts.get("bytes")) / per_request,
            experts.get("most_bytes", experts.get("bytes")) / per_request)


def cells(row):
    start = [f"{row['rate']:g}", row["policy"]]
    if "error" in row:
        return start + [row["error"][:60]] + [""] * (len(HEAD) - 3)
    report = row["report"]
    least, most = expert_gb(report)
    return start + [f"{1e3 * report['ttft_s']['mean']:.0f} ms", f"{1e3 * report['ttft_s']['p99']:.0f} ms",
                    f"{1e3 * report['tbt_s']['p99']:.1f} ms",
                    f"{least:.3f}" if least == most else f"{least:.2f} to {most:.2f}",
                    f"{report['goodput']['requests_per_s']:.2f}", f"{report['output_tokens_per_s']:.0f}"]


def print_table(rows):
    lines = [HEAD, *map(cells, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    for line in lines:
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths)).rstrip())


def print_gains(rows):
    """Layered against the smallest chunks, rate by rate: the comparison that the paper makes."""
    by_policy = {}
    for row in rows:
        if "report" in row:
            by_policy.setdefault(row["rate"], []).append(row)
    for rate, ran in by_policy.items():
        first, last = ran[0], ran[-1]
        if not first["policy"].startswith("chunked") or last["policy"] != "layered":
            continue
        ttft = last["report"]["ttft_s"]["mean"] / first["report"]["ttft_s"]["mean"] - 1
        text = f"  {rate:g} requests/s, layered against {first['policy']}: TTFT mean {100 * ttft:+.0f} %"
        (chunked_least, chunked_most), (least, most) = expert_gb(first["report"]), expert_gb(last["report"])
        if least == most and chunked_least == chunked_most:
            text += f", expert bytes {100 * (least / chunked_least - 1):+.0f} %"
        print(text)


def main():
    own, replay = (sys.argv[1:], []) if "--" not in sys.argv else (
        sys.argv[1:sys.argv.index("--")], sys.argv[sys.argv.index("--") + 1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("fib", type=Path)
    parser.add_argument("--cache", type=Path, required=True, help="folder for built kernels")
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--rates", type=numbers(float), required=True, help="requests a second, rising")
    parser.add_argument("--window", type=float, default=15, help="seconds of arrivals at each rate")
    parser.add_argument("--at-least", type=int, default=8, help="requests at each rate")
    parser.add_argument("--warm-up", type=int, default=2, help="requests before these")
    parser.add_argument("--chunks", type=numbers(int), default=[512, 1024, 2048])
    parser.add_argument("--cohort", type=int, help="tokens of a layered cohort; default: fib's")
    parser.add_argument("--seconds", type=float, default=420, help="for all replays together")
    parser.add_argument("--keep-rates", action="store_true",
                        help="rates that OUT.json has and that aren't measured now stay, if nothing else differs")
    args = parser.parse_args(own)
    args.replay = replay
    how = {"trace": args.trace.name, "window_s": args.window, "replay_options": replay}
    deadline = time.monotonic() + args.seconds
    rows = rows_of_other_rates(args, how)
    for rate in args.rates:
        for policy, options in policies(args):
            seconds = deadline - time.monotonic()
            outcome = run_replay(args, rate, options, seconds) if seconds > 1 else {"error": "no time left"}
            rows.append({"rate": rate, "policy": policy, **outcome})
            rows.sort(key=lambda row: row["rate"])  # policies stay in their order
            args.out.write_text(json.dumps({**how, "rows": rows}, indent=1) + "\n")
    ran = next((row["report"] for row in rows if "report" in row), None)
    if ran:
        print(f"{ran['model']}, {args.trace.stem}, lengths x {ran['length_scale']:g}, {args.window:g} s of arrivals; "
              f"good: TTFT within {ran['goodput']['slo_ttft_s']:g} s, "
              f"TBT within {1e3 * ran['goodput']['slo_tbt_s']:g} ms")
    print_table(rows)
    print_gains(rows)
    sys.exit(any(row.get("is_failure") for row in rows))


if __name__ == "__main__":
    main()
