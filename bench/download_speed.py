#!/usr/bin/env python3
"""How fast a download is beside plain curl, from one server on this machine, in turns: download_speed.py [EXO] [MB] [ROUNDS]

Onto the disk and, where there is one, into memory (/dev/shm: what network, copying and hashing cost without the disk).
What exo has fetched is flushed to the disk and proved by its SHA-256: "+ sync" and "+ sha256sum" are the same by hand, one after the other.
"""
import json, os, pathlib, resource, statistics, struct, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "hub"))
from hub_double import HubDouble

EXO = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release/exo")
MEGABYTES = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 5
MEMORY = pathlib.Path("/dev/shm")


def make_repo(repo):
    repo.mkdir()
    (repo / "config.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "U8", "shape": [MEGABYTES * 1_000_000], "data_offsets": [0, MEGABYTES * 1_000_000]}}).encode()
    with open(repo / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(MEGABYTES):
            file.write(os.urandom(1_000_000))


def timed(*commands, **options):
    """MB/s and the seconds of computing of these commands, one after the other."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    for command in commands:
        subprocess.run(command, check=True, capture_output=True, **options)
    seconds, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return MEGABYTES / seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(hub, folder):
    target, home = folder / "by-curl", folder / "home"
    curl = ["curl", "-sL", "-o", target, f"{hub.endpoint}/bench/model/resolve/main/model.safetensors"]
    env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "EXO_HOME": str(home), "EXO_CONFIG_DIR": str(folder / "config")}
    by_hand = {"curl": [curl], "curl + sync": [curl, ["sync", target]],
               "curl + sync + sha256sum": [curl, ["sync", target], ["sha256sum", target]]}
    runs = {who: [] for who in (*by_hand, "exo")}
    for _ in range(ROUNDS):
        for who, commands in by_hand.items():
            runs[who].append(timed(*commands))
            target.unlink()
        runs["exo"].append(timed([EXO, "download", "hf.co/bench/model"], env=env))
        subprocess.run([EXO, "rm", "bench/model"], env=env, check=True, capture_output=True)
    return runs


def report(place, runs):
    medians = {}
    for who, values in runs.items():
        medians[who] = statistics.median(speed for speed, _ in values)
        cpu = statistics.median(seconds for _, seconds in values)
        print(f"{place:7} {who:24} median {medians[who]:6.0f} MB/s, computing {cpu:4.2f} s   " + " ".join(f"{speed:.0f}" for speed, _ in values))
    for who in (name for name in runs if name != "exo"):
        print(f"{place:7} exo / {who} {medians['exo'] / medians[who]:.2f}", flush=True)


with tempfile.TemporaryDirectory(prefix="exo-bench-", dir=MEMORY if MEMORY.is_dir() else None) as source:
    repo = pathlib.Path(source) / "repo"
    make_repo(repo)
    hub = HubDouble({"bench/model": repo}).start()
    hub.sha256(repo / "model.safetensors")  # the real hub knows it too
    for place, parent in (("memory", MEMORY), ("disk", None)):
        if parent is None or parent.is_dir():
            with tempfile.TemporaryDirectory(prefix="exo-bench-", dir=parent) as folder:
                report(place, measure(hub, pathlib.Path(folder)))
