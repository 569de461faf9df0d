#!/usr/bin/env python3
"""How fast a download is beside plain curl, from one server on this machine, in turns: download_speed.py [EXO] [MB] [ROUNDS]"""
import json, os, pathlib, statistics, struct, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "hub"))
from hub_double import HubDouble

EXO = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release/exo")
MEGABYTES = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 5


def timed(command, **options):
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, **options)
    return MEGABYTES / (time.monotonic() - start)


with tempfile.TemporaryDirectory(prefix="exo-bench-") as name:
    folder = pathlib.Path(name)
    repo = folder / "repo"
    repo.mkdir()
    (repo / "config.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "U8", "shape": [MEGABYTES * 1_000_000], "data_offsets": [0, MEGABYTES * 1_000_000]}}).encode()
    with open(repo / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for _ in range(MEGABYTES):
            file.write(os.urandom(1_000_000))
    hub = HubDouble({"bench/model": repo}).start()
    hub.sha256(repo / "model.safetensors")  # the real hub knows it too
    speeds = {"curl": [], "exo": []}
    for turn in range(ROUNDS):
        target = folder / "by-curl"
        target.unlink(missing_ok=True)
        speeds["curl"].append(timed(["curl", "-sL", "-o", target, f"{hub.endpoint}/bench/model/resolve/main/model.safetensors"]))
        target.unlink()
        env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "EXO_HOME": str(folder / f"home-{turn}"), "EXO_CONFIG_DIR": str(folder / "config")}
        speeds["exo"].append(timed([EXO, "download", "hf.co/bench/model"], env=env))
        subprocess.run([EXO, "rm", "bench/model"], env=env, check=True, capture_output=True)
    for who, values in speeds.items():
        print(f"{who:5} median {statistics.median(values):7.0f} MB/s   " + " ".join(f"{v:.0f}" for v in values))
    ratio = statistics.median(speeds["exo"]) / statistics.median(speeds["curl"])
    print(f"exo / curl {ratio:.2f}")
