#!/usr/bin/env python3
"""exo and llama.cpp on the same GGUF file, same cores, in turns (A B A B ...); medians and ratios.

usage: bench/versus_llama.py LLAMA_BIN MODEL.gguf... [--exo build/release/exo] [-p 512] [-n 32] [-d 0]
                             [--threads 1,2] [--streams 8,32] [--rounds 3]

LLAMA_BIN is the folder of llama.cpp's `llama-bench` and `llama-batched-bench`, built natively
(-DGGML_NATIVE=ON). Both programs are pinned to the first T cores. Each round starts them anew and takes one
measurement of each kind; exo also reads as much memory as the weights take, plainly, and the last column says how much
of that speed its decode reaches (of a model with experts, which does not read all of them: more). With --streams, n
tokens are decoded for that many sequences together instead, behind prompts of 16 tokens. Linux only (taskset).
"""
import argparse, json, os, pathlib, statistics, subprocess

SHORT_PROMPT = 16


def run(cores, *command):
    done = subprocess.run(["taskset", "-c", f"0-{cores - 1}", *map(str, command)], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr[-2000:]}")
    return done.stdout


def exo(args, model, threads, prompt, streams):
    out = json.loads(run(threads, args.exo, "bench", model, "-p", prompt, "-n", args.n, "-d", args.d, "-b", streams,
                         "-r", 1, "--threads", threads, "--read-bandwidth", "--json"))
    return out["prefill"]["tokens_per_s"], out["decode"]["tokens_per_s"], out["read"]["decode_share"]


def llama_one(args, model, threads):
    out = json.loads(run(threads, args.llama / "llama-bench", "-m", model, "-p", args.p, "-n", args.n, "-d", args.d,
                         "-r", 1, "-t", threads, "-ngl", 0, "-o", "json"))
    speed = {"prefill" if entry["n_gen"] == 0 else "decode": entry["avg_ts"] for entry in out}
    return speed["prefill"], speed["decode"]


def llama_streams(args, model, threads, streams):
    out = run(threads, args.llama / "llama-batched-bench", "-m", model, "-npp", SHORT_PROMPT, "-ntg", args.n,
              "-npl", streams, "-c", (SHORT_PROMPT + args.n) * streams, "-t", threads, "-tb", threads, "-ngl", 0,
              "--output-format", "jsonl")
    row = json.loads([line for line in out.splitlines() if line.startswith("{")][-1])
    return row["speed_pp"], row["speed_tg"]


def report(args, model, threads, works, rounds):
    for kind, work in works:
        theirs, ours = (statistics.median(r[who][kind] for r in rounds) for who in (0, 1))
        share = f"{statistics.median(ours[2] for _, ours in rounds):.2f}" if work.startswith("decode") and not args.streams else "-"
        print(f"| {pathlib.Path(model).stem} | {threads} | {work} | {theirs:.1f} | {ours:.1f} | {ours / theirs:.2f} | {share} |",
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama", type=lambda name: pathlib.Path(name).absolute())
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--exo", default="build/release/exo", type=os.path.abspath)
    parser.add_argument("-p", type=int, default=512)
    parser.add_argument("-n", type=int, default=32)
    parser.add_argument("-d", type=int, default=0)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--streams", default="")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print("| model | threads | work | llama.cpp, tokens/s | exo, tokens/s | ratio | of a plain read |\n|---|---|---|---|---|---|---|")
    behind = f" behind {args.d}" if args.d else ""
    for model in args.models:
        for threads in map(int, args.threads.split(",")):
            for streams in map(int, filter(None, args.streams.split(","))):
                rounds = [(llama_streams(args, model, threads, streams), exo(args, model, threads, SHORT_PROMPT, streams))
                          for _ in range(args.rounds)]
                report(args, model, threads, [(1, f"decode {args.n}, {streams} streams")], rounds)
            if not args.streams:
                rounds = [(llama_one(args, model, threads), exo(args, model, threads, args.p, 1))
                          for _ in range(args.rounds)]
                report(args, model, threads, [(0, f"prefill {args.p}{behind}"), (1, f"decode {args.n}{behind}")], rounds)


main()
