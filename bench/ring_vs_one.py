#!/usr/bin/env python3
"""Two nodes on one core each against one node on one core: what the ring costs and what it gains.

usage: bench/ring_vs_one.py MODEL [--exo build/release/exo] [--rounds 3] [--partitioning STRATEGY] [--cores 0,1]

Real processes and sockets, measured through the API of the first node, in turns (one, two, one, two ...); medians.
Prompts are random token ids, different each time, so that no prefix is reused. Linux only (taskset).
"""
import argparse, concurrent.futures, contextlib, json, os, pathlib, random, shutil, socket, statistics, subprocess, tempfile, time
import urllib.request

PREFILL, DECODE, STREAMS = 2048, 64, (1, 8, 32)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ring:
    """Nodes with one thread on one core each; the model is loaded over all of them."""

    def __init__(self, args, cores):
        self.args, self.port = args, free_port()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="exo-bench-"))
        env = {**os.environ, "EXO_CONFIG_DIR": str(self.folder / "config"), "EXO_HOME": str(self.folder / "home")}
        udp = str(free_port(socket.SOCK_DGRAM))
        self.nodes = []
        for i, core in enumerate(cores):
            flags = ["--disable-tui", "--threads", "1", "--listen-port", udp, "--broadcast-port", udp,
                     "--chatgpt-api-port", str(self.port if i == 0 else free_port())]
            if len(cores) > 1 and args.partitioning:
                flags += ["--partitioning", args.partitioning]
            log = open(self.folder / f"node-{i}.log", "w")
            self.nodes.append(subprocess.Popen(["taskset", "-c", str(core), args.exo, "serve", *flags], env=env,
                                               stdout=log, stderr=log, stdin=subprocess.DEVNULL))
        self.wait(lambda: len([n for n in self.get("/v1/topology")["nodes"] if n["self"] or n["linked"]]) == len(cores))
        time.sleep(1)  # what the nodes can hold has been told
        self.complete(4, 4)
        self.stages = [f"{s['layer_begin']}-{s['layer_end'] - 1}" for p in self.get("/v1/topology")["placements"]
                       if p["state"] == "ready" for s in p["stages"]]
        assert len(self.stages) == len(cores), f"the model lies on {self.stages}"

    def wait(self, condition):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if condition():
                    return
            time.sleep(0.1)
        raise SystemExit("the nodes did not come up: see " + str(self.folder))

    def get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return json.load(answer)

    def complete(self, prompt_tokens, max_tokens):
        """Times (s) of each piece of one streamed answer, since it was asked for."""
        body = {"model": self.args.model, "prompt": [random.randrange(300, 1000) for _ in range(prompt_tokens)],
                "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True, "stream": True,
                "stream_options": {"include_usage": True}}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        started, usage = time.monotonic(), None
        with urllib.request.urlopen(request, timeout=600) as answer:
            for line in answer:
                if line.startswith(b"data: {"):
                    chunk = json.loads(line[6:])
                    assert "error" not in chunk, chunk
                    usage = chunk.get("usage") or usage
        assert usage and usage["completion_tokens"] == max_tokens, usage
        return time.monotonic() - started

    def measure(self):
        out = {f"prefill {PREFILL}": PREFILL / self.complete(PREFILL, 1)}
        for streams in STREAMS:
            with concurrent.futures.ThreadPoolExecutor(streams) as pool:
                def together(tokens):
                    started = time.monotonic()
                    list(pool.map(lambda _: self.complete(8, tokens), range(streams)))
                    return time.monotonic() - started
                short, long = together(4), together(4 + DECODE)  # the difference is decode alone
                out[f"decode {streams}"] = streams * DECODE / (long - short)
        return out

    def stop(self):
        for node in self.nodes:
            node.kill()
            node.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--exo", default="build/release/exo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--partitioning", default="")
    parser.add_argument("--cores", default="0,1")
    args = parser.parse_args()
    args.exo, args.model = os.path.abspath(args.exo), os.path.abspath(args.model)
    cores = args.cores.split(",")
    one, two = [], []
    for _ in range(args.rounds):
        for cores_used, results in (([cores[0]], one), (cores, two)):
            ring = Ring(args, cores_used)
            try:
                results.append(ring.measure())
            finally:
                ring.stop()
            print(f"{len(cores_used)} node(s), layers {' + '.join(ring.stages)}: "
                  + ", ".join(f"{k} {v:.1f}" for k, v in results[-1].items()), flush=True)
    print(f"\n{'tokens/s':14}{'one node':>10}{'two nodes':>11}{'ratio':>8}")
    for key in one[0]:
        a, b = (statistics.median(r[key] for r in results) for results in (one, two))
        print(f"{key:14}{a:10.1f}{b:11.1f}{b / a:8.2f}")


main()
