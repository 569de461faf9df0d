#!/usr/bin/env python3
"""Models from a hub (the double in tests/hub): found by name, fetched, resumed, refused, removed, split over nodes."""
import json, os, pathlib, shutil, signal, struct, subprocess, sys, tempfile, time, urllib.error, urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hub"))
from harness import EXO, ROOT, Cluster, check, finish, wait_until
from hub_double import GOOD_TOKEN, HubDouble

DEMO = ROOT / "models" / "demo"
ANSWER = "exo joins your everyday devices into one peer-to-peer cluster"
QUESTION = ("--prompt", "What is exo?", "--temperature", "0")


def make_repo(folder, files=6):
    """The demo model as a hub would have it: another fingerprint, its weights in several files."""
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json"):
        shutil.copy(DEMO / name, folder / name)
    config = json.loads((DEMO / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": "from a hub"}))
    (folder / "README.md").write_text("not wanted")
    data = (DEMO / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {k: v for k, v in json.loads(data[8:8 + size]).items() if k != "__metadata__"}
    base, names, weight_map = 8 + size, sorted(tensors, key=lambda n: tensors[n]["data_offsets"]), {}
    for i in range(files):
        name = f"model-{i + 1:05}-of-{files:05}.safetensors"
        header, body = {}, b""
        for tensor in names[i * len(names) // files:(i + 1) * len(names) // files]:
            begin, end = tensors[tensor]["data_offsets"]
            header[tensor] = {**tensors[tensor], "data_offsets": [len(body), len(body) + end - begin]}
            body += data[base + begin:base + end]
            weight_map[tensor] = name
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        (folder / name).write_bytes(struct.pack("<Q", len(text)) + text + body)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="exo-hub-"))
REPO = make_repo(FOLDER / "tiny")
SIZE = sum(path.stat().st_size for path in REPO.glob("*.safetensors"))
GGUF = FOLDER / "gguf"
(GGUF / "in").mkdir(parents=True)
subprocess.run([EXO, "convert", DEMO, GGUF / "in" / "demo-Q8_0.gguf", "--quantize", "q8_0"], check=True, capture_output=True)
HUB = HubDouble({"test/tiny": REPO, "test/gated": REPO, "test/gguf": GGUF}, gated=["test/gated"]).start()
os.environ.update(HF_ENDPOINT=HUB.endpoint, HF_HOME=str(FOLDER), OLLAMA_MODELS=str(FOLDER / "ollama"))
os.environ.pop("HF_TOKEN", None)
CARDS = {"cards": [{"id": "tiny-3b", "aliases": ["tiny"], "family": "llama", "licence": "apache-2.0",
                    "variants": [{"format": "safetensors", "quantisation": "bf16", "repo": "test/tiny"}]}]}


class HubCluster(Cluster):
    def __init__(self):
        super().__init__()
        self.add_card("config")

    def add_card(self, config):
        cards = self.folder / config / "models"
        cards.mkdir(parents=True, exist_ok=True)
        (cards / "tiny.json").write_text(json.dumps(CARDS))

    def shard(self, home="home"):
        """(bytes of weights really on disk, the folder)"""
        folder = self.folder / home / "downloads" / "test--tiny"
        return sum(p.stat().st_blocks * 512 for p in folder.glob("*.safetensors*") if p.suffix != ".json"), folder


@check
def run_by_name():
    """exo run NAME fetches a model of a card first, and only once"""
    with HubCluster() as cluster:
        HUB.behave()
        refused = cluster.command("run", "tiny", *QUESTION, "--discovery-module", "none", "--no-auto-download")
        assert refused.returncode == 1 and "exo download tiny" in refused.stderr and not HUB.sent, refused
        first = cluster.command("run", "tiny", *QUESTION, "--discovery-module", "none")
        assert first.returncode == 0 and first.stdout.startswith(ANSWER), first
        assert HUB.large_bytes() <= SIZE * 1.02, (HUB.large_bytes(), SIZE)
        assert not HUB.sent["README.md"]
        HUB.behave()
        again = cluster.command("run", "tiny-3b", *QUESTION, "--discovery-module", "none", "--offline")
        assert again.returncode == 0 and again.stdout == first.stdout and not HUB.sent, (again, HUB.sent)
        disk = json.loads(cluster.command("models", "--disk", "--json").stdout)["data"]
        assert [m["state"] for m in disk if m["id"] == "tiny-3b"] == ["complete, proved by its hashes"], disk


@check
def run_by_address():
    """exo run hf.co/ORG/NAME needs no card; what is unknown, gated or offline gets one clear sentence"""
    with HubCluster() as cluster:
        HUB.behave()
        there = cluster.command("run", "hf.co/test/tiny", *QUESTION, "--discovery-module", "none")
        assert there.returncode == 0 and there.stdout.startswith(ANSWER), there
        for model, flags, sentence in [("hf.co/test/none", [], "check the name, or set HF_TOKEN"), ("hf.co/test/gated", [], "is gated"),
                                       ("hf.co/test/none", ["--offline"], "offline"), ("no-such-card", [], "exo models --all")]:
            said = cluster.command("download", model, *flags)
            assert said.returncode == 1 and sentence in said.stderr and said.stderr.count("\n") == 1, said
        os.environ["HF_TOKEN"] = GOOD_TOKEN
        try:
            HUB.behave()
            let_in = cluster.command("download", "hf.co/test/gated", "--json")
            assert let_in.returncode == 0 and json.loads(let_in.stdout)["state"] == "done", let_in
            assert {token for where, token in HUB.seen_tokens if where == "hub"} == {GOOD_TOKEN}
            assert {token for where, token in HUB.seen_tokens if where == "large"} == {""}, "the token left the hub"
        finally:
            del os.environ["HF_TOKEN"]


@check
def gguf_by_quantisation():
    """hf.co/ORG/NAME:QUANTISATION is one GGUF file of a repo, also one in a folder"""
    with HubCluster() as cluster:
        HUB.behave()
        answer = cluster.command("run", "hf.co/test/gguf:q8_0", *QUESTION, "--discovery-module", "none")
        assert answer.returncode == 0 and len(answer.stdout) > 20, answer
        said = cluster.command("download", "hf.co/test/gguf:q4_0")
        assert said.returncode == 1 and "demo-Q8_0.gguf" in said.stderr, said


@check
def killed_download():
    """a download killed at any moment goes on where it was, and less than a piece comes twice"""
    with HubCluster() as cluster:
        HUB.behave(speed=2_000_000)
        fetched, kills = 0, 0
        for wait_s in (0.8, 1.7, 2.5):
            process = subprocess.Popen([EXO, "download", "tiny"], env=cluster.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(wait_s)
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        fetched = HUB.large_bytes()
        HUB.wrong = {}
        done = cluster.command("download", "tiny", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["state"] == "done", done
        assert kills == 0 or HUB.large_bytes() - fetched < SIZE, "nothing was kept"
        for path in REPO.glob("*.safetensors"):
            assert (cluster.shard()[1] / path.name).read_bytes() == path.read_bytes(), path.name


@check
def node_downloads():
    """a node fetches on request, tells how far it is, removes, and chats with a model it has to fetch first"""
    with HubCluster() as cluster:
        HUB.behave(speed=4_000_000)
        node = cluster.start("--discovery-module", "none")
        request = urllib.request.Request(node.url("/v1/chat/completions"), json.dumps(
            {"model": "tiny", "messages": [{"role": "user", "content": "What is exo?"}], "temperature": 0, "stream": True}).encode(),
            {"Content-Type": "application/json"})
        text, comments = "", []
        with urllib.request.urlopen(request, timeout=60) as answer:
            for line in answer:
                if line.startswith(b": "):
                    comments.append(line.decode())
                if line.startswith(b"data: {"):
                    text += "".join(c["delta"].get("content") or "" for c in json.loads(line[6:])["choices"])
        assert text.startswith(ANSWER) and any("downloading tiny" in c for c in comments), (text, comments)
        HUB.behave()
        assert cluster.command("download", "tiny", "--json").returncode == 0
        known = node.get("/v1/models?all=1")
        assert any(m["id"] == "tiny-3b" and m["held_bytes"] == m["file_bytes"] for m in known["data"]), known["data"]
        assert any(m["id"] == "llama-3.2-3b" and m["state"] in ("fits", "too_large") for m in known["known"])
        table = cluster.command("models", "--all").stdout
        assert "tiny-3b" in table and "llama-3.2-3b" in table, table
        loaded = cluster.command("rm", "tiny")
        assert loaded.returncode == 1 and "exo unload" in loaded.stderr, loaded
        assert cluster.command("unload", "tiny").returncode == 0
        wait_until(lambda: not node.layers(), 5, "the model is unloaded")
        wait_until(lambda: cluster.command("rm", "tiny").returncode == 0, 5, "the model is removed")
        assert not cluster.shard()[1].exists()
        foreign = cluster.command("rm", "demo")
        assert foreign.returncode == 1 and "left alone" in foreign.stderr, foreign
        assert [d["state"] for d in node.get("/v1/models/downloads")["data"]].count("done") >= 2


@check
def own_layers_only():
    """three nodes of separate homes fetch each their own layers, each byte once, and answer as one node does"""
    with HubCluster() as cluster:
        HUB.behave()
        for i in range(3):
            cluster.start("--wait-for-peers", "0", env={"EXO_HOME": str(cluster.folder / f"home-{i}")})
        node = cluster.nodes[0].wait_nodes(3)
        assert node.chat("What is exo?", model="tiny").startswith(ANSWER)
        assert len(node.layers()) == 3, node.topology()["placements"]
        held = [cluster.shard(f"home-{i}")[0] for i in range(3)]
        assert all(0 < size < SIZE * 0.75 for size in held), (held, SIZE)
        print(f"   {HUB.large_bytes() / SIZE:.3f} of the model's size fetched by three nodes, on disk {[round(h / SIZE, 2) for h in held]}")


@check
def ollama_models():
    """what Ollama has pulled is listed and left alone"""
    with HubCluster() as cluster:
        blobs, manifest = FOLDER / "ollama" / "blobs", FOLDER / "ollama" / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "latest"
        gguf = next((ROOT / "tests" / "golden" / "models").rglob("*.gguf"), None)
        if gguf is None:
            print("   no GGUF model in tests/golden: skipped")
            return
        digest = "ab" * 32
        blobs.mkdir(parents=True)
        manifest.parent.mkdir(parents=True)
        shutil.copy(gguf, blobs / f"sha256-{digest}")
        manifest.write_text(json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}]}))
        disk = json.loads(cluster.command("models", "--disk", "--json").stdout)["data"]
        assert any(m["id"] == "ollama/tiny:latest" for m in disk), disk
        made = cluster.command("debug", "generate", "--model", "ollama/tiny:latest", "--tokens", "1,2,3", "-n", "2")
        assert made.returncode == 0, made
        removed = cluster.command("rm", "ollama/tiny:latest")
        assert removed.returncode == 1 and "left alone" in removed.stderr, removed


HUB.stop()
shutil.rmtree(FOLDER, ignore_errors=True)
finish()
