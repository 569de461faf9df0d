#!/usr/bin/env python3
"""exo and llama.cpp on the same GGUF file, same cores, in turns (A B A B ...); medians and ratios.

usage: bench/versus_llama.py LLAMA_BENCH MODEL.gguf... [--exo build/release/exo] [-p 512] [-n 32]
                             [--threads 1,2] [--rounds 3]

LLAMA_BENCH is llama.cpp's `llama-bench`, built natively (-DGGML_NATIVE=ON). Both are pinned to the first T cores.
Each round starts both programs anew and takes one measurement of each kind. Linux only (taskset).
"""
import argparse, json, os, pathlib, statistics, subprocess


def run(cores, *command):
    done = subprocess.run(["taskset", "-c", f"0-{cores - 1}", *command], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def exo(args, model, threads):
    out = run(threads, args.exo, "bench", model, "-p", str(args.p), "-n", str(args.n), "-r", "1",
              "--threads", str(threads), "--json")
    return out["prefill"]["tokens_per_s"], out["decode"]["tokens_per_s"]


def llama(args, model, threads):
    out = run(threads, args.llama_bench, "-m", model, "-p", str(args.p), "-n", str(args.n), "-r", "1",
              "-t", str(threads), "-ngl", "0", "-o", "json")
    speed = {"prefill" if entry["n_gen"] == 0 else "decode": entry["avg_ts"] for entry in out}
    return speed["prefill"], speed["decode"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama_bench")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--exo", default="build/release/exo")
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    args.exo = os.path.abspath(args.exo)
    print(f"| model | threads | work | llama.cpp, tokens/s | exo, tokens/s | ratio |\n|---|---|---|---|---|---|")
    for model in args.models:
        for threads in map(int, args.threads.split(",")):
            rounds = [(llama(args, model, threads), exo(args, model, threads)) for _ in range(args.rounds)]
            for kind, work in enumerate((f"prefill {args.p}", f"decode {args.n}")):
                theirs, ours = (statistics.median(r[who][kind] for r in rounds) for who in (0, 1))
                print(f"| {pathlib.Path(model).stem} | {threads} | {work} | {theirs:.1f} | {ours:.1f} | "
                      f"{ours / theirs:.2f} |", flush=True)


main()
