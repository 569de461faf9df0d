#!/usr/bin/env python3
"""Tokens per second of a loaded model while a download fails, beside an undisturbed one: tokens_beside_download.py [EXO] [ROUNDS]

One node, the demo model, one stream of 150-token answers for four seconds at a time. In turns: nothing else; the hub
answers 503 to everything; a neighbour is killed in the middle of a copy from it; the disk (a small tmpfs, where one can be
mounted) is full. Each is compared with the undisturbed turns before and after it; medians.
"""
import json, os, pathlib, statistics, subprocess, sys, threading, time, urllib.error, urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROUNDS = int(sys.argv.pop(2)) if len(sys.argv) > 2 else 5
sys.path[:0] = [str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "hub")]
from harness import Cluster, sparse_repo, wait_until
from hub_double import HubDouble

SECONDS, TOKENS, MEGABYTES = 4, 150, 60


def post(node, path, body, timeout_s=120):
    request = urllib.request.Request(node.url(path), json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def tokens_per_s(node):
    started, tokens = time.monotonic(), 0
    while time.monotonic() - started < SECONDS:
        answer = post(node, "/v1/completions", {"model": "demo", "prompt": "Once upon a time", "max_tokens": TOKENS,
                                                "temperature": 0, "ignore_eos": True})
        tokens += answer["usage"]["completion_tokens"]
    return tokens / (time.monotonic() - started)


class Disturbed:
    """A download runs while the model is asked; afterwards it has failed, or is cancelled."""

    def __init__(self, node, hub, **behaviour):
        self.node = node
        hub.behave(**behaviour)
        self.answers = []
        self.asked = threading.Thread(target=lambda: self.answers.append(post(node, "/v1/models/download", {"model": "hf.co/bench/model"})))

    def __enter__(self):
        self.asked.start()

    def __exit__(self, *_):
        for download in self.node.get("/v1/models/downloads")["data"]:
            if download["state"] == "running":
                request = urllib.request.Request(self.node.url(f"/v1/models/downloads/{download['id']}"), method="DELETE")
                urllib.request.urlopen(request, timeout=60).close()
        self.asked.join()


def hub_down(cluster, hub):
    node = cluster.nodes[0]
    with Disturbed(node, hub, status=503):
        return tokens_per_s(node)


def neighbour_gone(cluster, hub):
    node = cluster.nodes[0]
    subprocess.run(["rm", "-rf", cluster.folder / "home" / "downloads"], check=True)
    other = cluster.start("--wait-for-peers", "0", "--spare-layers", "off", env={"EXO_HOME": str(cluster.folder / "other")})
    wait_until(lambda: any(n["linked"] for n in node.topology()["nodes"]), 20, "they are linked")
    hub.behave()
    assert post(other, "/v1/models/download", {"model": "hf.co/bench/model"})["state"] == "done"
    with Disturbed(node, hub, status=503):
        threading.Timer(0.05, other.kill).start()
        return tokens_per_s(node)


def disk_full(cluster, hub):
    node, home = cluster.nodes[0], cluster.folder / "home"
    subprocess.run(["rm", "-rf", home / "downloads"], check=True)
    with Disturbed(node, hub, speed=500_000):
        wait_until(lambda: any(d["state"] == "running" and d["done_bytes"] > 1_000_000 for d in node.get("/v1/models/downloads")["data"]), 20, "it has begun")
        filler = home / "filler"
        with open(filler, "wb") as file:
            try:
                while True:
                    file.write(bytes(1 << 20))
                    file.flush()
            except OSError:
                pass
        speed = tokens_per_s(node)
    filler.unlink()
    return speed


with Cluster() as cluster:
    home = cluster.folder / "home"
    home.mkdir()
    sparse_repo(cluster.folder / "repo", MEGABYTES)
    hub = HubDouble({"bench/model": cluster.folder / "repo"}).start()
    os.environ.update(HF_ENDPOINT=hub.endpoint, HF_HOME=str(cluster.folder), OLLAMA_MODELS=str(cluster.folder / "none"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150m", "tmpfs", home], capture_output=True).returncode == 0
    disturbances = [hub_down, neighbour_gone] + [disk_full] * mounted
    try:
        node = cluster.start("--wait-for-peers", "0", "--spare-layers", "off")
        tokens_per_s(node)
        before, ratios = tokens_per_s(node), {each.__name__: [] for each in disturbances}
        print(f"undisturbed {before:.0f} tokens/s", flush=True)
        for _ in range(ROUNDS):
            for disturb in disturbances:
                during, after = disturb(cluster, hub), tokens_per_s(node)
                ratios[disturb.__name__].append(during / ((before + after) / 2))
                before = after
        for name, values in ratios.items():
            print(f"{name:15} median {statistics.median(values):.3f} of undisturbed   " + " ".join(f"{v:.2f}" for v in values))
        if not mounted:
            print("disk_full       skipped: a small disk of its own cannot be mounted here (that takes root)")
    finally:
        for each in cluster.nodes:
            each.kill()
        if mounted:
            subprocess.run(["umount", "-l", home], check=True)
