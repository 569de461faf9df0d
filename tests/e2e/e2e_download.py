#!/usr/bin/env python3
"""Models from a hub (the double in tests/hub): found by name, fetched, resumed, refused, removed, split over nodes."""
import contextlib, fcntl, http.client, json, os, pathlib, pty, re, shutil, signal, struct, subprocess, sys, tempfile, termios, threading, time
import urllib.error, urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hub"))
from harness import EXO, ROOT, Cluster, check, finish, in_parallel, sparse_repo, wait_until
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
SPARE_IDLE_S = 10  # a model unasked for so long is idle
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


with Cluster() as alone:
    RIGHT_GGUF = alone.command("run", str(GGUF / "in" / "demo-Q8_0.gguf"), *QUESTION, "--discovery-module", "none")
    assert RIGHT_GGUF.returncode == 0 and len(RIGHT_GGUF.stdout) > 20, RIGHT_GGUF


def events_of(node, path, body):
    """(comments, data) of server-sent events."""
    request = urllib.request.Request(node.url(path), json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        for line in answer:
            if line.startswith(b"data: {"):
                yield json.loads(line[6:])


def call(node, method, path, body=None):
    """(status, answer)"""
    request = urllib.request.Request(node.url(path), None if body is None else json.dumps(body).encode(),
                                     {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


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
        assert answer.returncode == 0 and answer.stdout == RIGHT_GGUF.stdout, (answer, RIGHT_GGUF)
        said = cluster.command("download", "hf.co/test/gguf:q4_0")
        assert said.returncode == 1 and "demo-Q8_0.gguf" in said.stderr, said


class Screen:
    """What a terminal of so many columns shows: text, newlines, cursor up, erasing to the end of the line and of all."""

    def __init__(self, columns):
        self.columns, self.lines, self.row, self.column, self.wrapped = columns, [""], 0, 0, 0

    def feed(self, text):
        for escape, number, what, plain in re.findall(r"(\x1b\[(\d*)([AJK]))|([^\x1b])", text):
            if what == "A":
                self.row = max(0, self.row - int(number or 1))
            elif what:
                self.lines[self.row] = self.lines[self.row][:self.column]
                if what == "J":
                    del self.lines[self.row + 1:]
            elif plain == "\r":
                self.column = 0
            else:
                if plain != "\n" and self.column == self.columns:
                    self.wrapped += 1
                if plain == "\n" or self.column == self.columns:
                    self.row += 1
                    self.lines += [""] * (self.row + 1 - len(self.lines))
                    self.column = 0 if plain != "\n" else self.column
                if plain != "\n":
                    line = self.lines[self.row].ljust(self.column)
                    self.lines[self.row] = line[:self.column] + plain + line[self.column + 1:]
                    self.column += 1


def on_terminal(columns, command, env):
    """(the screen at the end, one in the middle, exit code) of a command on a pseudo terminal"""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(str(command[0]), [str(part) for part in command], env)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    screen, middle, rest = Screen(columns), [], b""
    while True:
        try:
            rest += os.read(terminal, 65536)
        except OSError:  # its other end is closed
            break
        whole = rest.rfind(b"\x1b[J") + 3  # what is shown at once
        if whole > 2:
            screen.feed(rest[:whole].decode())
            rest = rest[whole:]
            middle = list(screen.lines) if any("%" in line for line in screen.lines) else middle
    screen.feed(rest.decode())
    os.close(terminal)
    return screen, middle, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@check
def progress_bars():
    """a bar is one line of a terminal however narrow it is, and leaves nothing but the last sentence"""
    for columns in (80, 40):
        with HubCluster() as cluster:
            HUB.behave(speed=500_000)
            screen, middle, code = on_terminal(columns, [EXO, "download", "tiny"], cluster.environment())
            assert code == 0 and screen.wrapped == (0 if columns == 80 else screen.wrapped), (screen.lines, code)
            assert len([line for line in middle if line.strip()]) == 1 and "%" in middle[0] and len(middle[0]) < columns, middle
            assert screen.lines[0].startswith("tiny is here") and screen.lines[-1] == "", screen.lines
    with HubCluster() as cluster:
        HUB.behave(speed=300_000)
        for i in range(2):
            cluster.start("--wait-for-peers", "0", "--spare-layers", "off", env={"EXO_HOME": str(cluster.folder / f"home-{i}")})
        node = cluster.nodes[0].wait_nodes(2)
        env = {**cluster.environment(), "EXO_API_PORT": str(node.api_port)}
        screen, middle, code = on_terminal(40, [EXO, "download", "tiny"], env)
        shown = [line for line in middle if line.strip()]
        assert code == 0 and len(shown) == 4 and all(len(line) < 40 for line in shown), (shown, screen.lines)
        assert shown[0].startswith("NODE") and shown[3].startswith("all"), shown
        assert screen.lines[0].startswith("tiny is here, on 2 nodes") and screen.lines[-1] == "", screen.lines
        print("   " + "\n   ".join(shown))


@check
def terminated_hash():
    """SIGTERM in the middle of a long hash ends node and command soon; the next start proves the file and asks for nothing"""
    file = sparse_repo(FOLDER / "long", 4000)
    HUB.repos["test/long"] = FOLDER / "long"
    HUB.sha256(file)
    with HubCluster() as cluster:
        folder = cluster.folder / "home" / "downloads" / "test--long"
        record = folder / "model.safetensors.partial.json"
        HUB.behave(speed=50_000)
        begun = subprocess.Popen([EXO, "download", "hf.co/test/long"], env=cluster.environment(), stderr=subprocess.DEVNULL)
        wait_until(lambda: record.exists() and json.loads(record.read_text())["held"], 20, "the header is here")
        begun.kill()
        begun.wait()
        time.sleep(1)  # the hub notices
        # As if all of it had come: the rest is zeros on the hub too.
        known = json.loads(record.read_text())
        record.write_text(json.dumps({**known, "held": [[0, known["size"]]]}))
        HUB.behave()
        took = {}
        node = cluster.start("--discovery-module", "none")
        answers = []

        def ask():
            with contextlib.suppress(OSError, http.client.HTTPException):  # the node ends meanwhile
                answers.append(call(node, "POST", "/v1/models/download", {"model": "hf.co/test/long"}))

        asked = threading.Thread(target=ask)
        asked.start()
        wait_until(lambda: any(d["state"] == "running" for d in node.get("/v1/models/downloads")["data"]), 10, "it runs")
        time.sleep(0.7)
        assert not answers, "hashing takes longer than that"
        started = time.monotonic()
        assert node.stop(5) == 0, node.log()
        took["node"] = time.monotonic() - started
        asked.join()
        command = subprocess.Popen([EXO, "download", "hf.co/test/long"], env=cluster.environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, text=True)
        time.sleep(0.7)
        assert command.poll() is None, "hashing takes longer than that"
        started = time.monotonic()
        command.send_signal(signal.SIGTERM)
        assert "goes on where it was" in command.communicate(timeout=5)[1] and command.returncode == 130
        took["command"] = time.monotonic() - started
        assert not (folder / "model.safetensors").exists() and json.loads(record.read_text())["held"] == [[0, known["size"]]]
        done = cluster.command("download", "hf.co/test/long", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["fetched_bytes"] == 0 and HUB.large_bytes() == 0, (done, HUB.sent)
        assert (folder / "model.safetensors").exists() and not record.exists()
        assert max(took.values()) < 2, took  # nobody is waited for: the hash is given up
        print("   after SIGTERM: " + ", ".join(f"{who} {seconds:.2f} s" for who, seconds in took.items()))


@check
def full_disk():
    """a disk that is full in the middle of a download ends it with one clear sentence; with room again it goes on where it was"""
    with HubCluster() as cluster:
        home = cluster.folder / "home"
        home.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", home], capture_output=True).returncode != 0:
            return print("skipped full_disk: a small disk of its own cannot be mounted here (that takes root)")
        try:
            file = sparse_repo(FOLDER / "roomy", 40)
            HUB.repos["test/roomy"] = FOLDER / "roomy"
            HUB.behave(speed=1_000_000)
            node = cluster.start("--discovery-module", "none", env={"EXO_HOME": str(home)})
            assert node.chat("What is exo?", model="demo").startswith(ANSWER)
            answers = []
            asked = threading.Thread(target=lambda: answers.append(call(node, "POST", "/v1/models/download", {"model": "hf.co/test/roomy"})))
            asked.start()
            wait_until(lambda: any(d["done_bytes"] > 4_000_000 for d in node.get("/v1/models/downloads")["data"]), 20, "it has begun")
            with open(home / "filler", "wb") as filler:
                try:
                    while True:
                        filler.write(bytes(1 << 20))
                        filler.flush()
                except OSError:
                    pass
            asked.join(30)
            status, answer = answers[0]
            assert status >= 400, answer
            sentence = answer["error"]["message"]
            assert "full" in sentence or "space" in sentence.lower(), sentence
            failed = node.get("/v1/models/downloads")["data"][0]
            assert failed["state"] == "failed" and failed["error"] == sentence and failed["done_bytes"] > 0, failed
            assert node.chat("What is exo?", model="demo").startswith(ANSWER)
            status, answer = call(node, "POST", "/v1/models/download", {"model": "hf.co/test/roomy"})
            assert status >= 400, "there is still no room"
            (home / "filler").unlink()
            HUB.behave()
            status, answer = call(node, "POST", "/v1/models/download", {"model": "hf.co/test/roomy"})
            assert status == 200 and answer["state"] == "done" and answer["fetched_bytes"] < file.stat().st_size, answer
            print(f"   {sentence}")
        finally:
            for node in cluster.nodes:
                node.kill()
            subprocess.run(["umount", "-l", home], check=True)


@check
def killed_download():
    """a download killed at any moment goes on where it was, and less than a piece comes twice"""
    with HubCluster() as cluster:
        speed, kills = 200_000, 0
        HUB.behave(speed=speed)
        for wait_s in (1.5, 2.5, 3.5):
            process = subprocess.Popen([EXO, "download", "tiny"], env=cluster.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(wait_s)
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.wait()
        HUB.wrong = {}
        done = cluster.command("download", "tiny", "--json")
        assert done.returncode == 0 and json.loads(done.stdout)["state"] == "done", done
        again = HUB.large_bytes() - SIZE
        # Kept is what was there a second before; six files come over as many connections.
        assert kills > 0 and again < kills * 6 * speed * 1.3, (kills, again)
        print(f"   {kills} kills, {again / SIZE:.3f} of the model came again")
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
        known = node.get("/v1/models?x=2&all=%31")
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
def downloads_by_api():
    """by HTTP a download is followed, joined, cancelled, resumed and removed; a bad one says why"""
    with HubCluster() as cluster:
        HUB.behave(speed=200_000)
        node = cluster.start("--discovery-module", "none")
        done, asked = [], False
        for event in events_of(node, "/v1/models/download", {"model": "tiny", "stream": True}):
            if event["total_bytes"] == SIZE:
                done.append(event["done_bytes"])
            if event["state"] == "running" and event["done_bytes"] > SIZE / 10 and not asked:
                asked = True
                listed = {m["id"]: m for m in node.get("/v1/models")["data"]}
                assert listed["tiny-3b"]["downloading"] and 0 < listed["tiny-3b"]["held_bytes"] < SIZE, listed
                assert "downloading" in cluster.command("models", "--all").stdout
                assert call(node, "DELETE", "/v1/models/tiny")[0] == 503
                assert call(node, "DELETE", f"/v1/models/downloads/{event['id']}")[0] == 200
        assert event["state"] == "cancelled" and len(done) >= 2 and done == sorted(done), (event, done)
        assert event["bytes_per_s"] > 0 and event["total_bytes"] == SIZE, event
        HUB.behave()
        status, answer = call(node, "POST", "/v1/models/download", {"model": "tiny"})
        assert status == 200 and answer["state"] == "done" and answer["fetched_bytes"] < SIZE * 0.95, answer
        assert HUB.large_bytes() == answer["fetched_bytes"], (HUB.sent, answer)
        HUB.behave(api_status=404)
        for model, code in (("hf.co/test/none", 404), ("no-such-card", 404), ("", 400), ("hf.co/..", 400)):
            status, answer = call(node, "POST", "/v1/models/download", {"model": model})
            assert status == code and answer["error"]["message"], (model, status, answer)
        assert call(node, "DELETE", "/v1/models/downloads/999")[0] == 404
        status, answer = call(node, "DELETE", "/v1/models/tiny-3b")
        assert status == 200 and answer["freed_bytes"] >= SIZE and not cluster.shard()[1].exists(), answer


@check
def load_downloads():
    """exo load fetches the model first; a node that may not fetch says what to do"""
    with HubCluster() as cluster:
        HUB.behave()
        node = cluster.start("--discovery-module", "none")
        loaded = cluster.command("load", "tiny")
        assert loaded.returncode == 0 and node.layers(), loaded
        assert HUB.large_bytes() <= SIZE * 1.02, HUB.sent
    for flag, sentence in (("--no-auto-download", "exo download tiny"), ("--offline", "offline")):
        with HubCluster() as cluster:
            HUB.behave()
            node = cluster.start("--discovery-module", "none", flag)
            for path in ("/v1/models/load", "/v1/chat/completions"):
                status, answer = call(node, "POST", path, {"model": "tiny", "messages": [{"role": "user", "content": "x"}]})
                assert status >= 400 and sentence in answer["error"]["message"], (flag, path, answer)
            assert not HUB.sent and not HUB.requests, (flag, HUB.sent)


@check
def other_folders():
    """models in read-only folders run and are left alone; a home that cannot be written is named"""
    with HubCluster() as cluster:
        HUB.behave()
        shared = cluster.folder / "shared"
        shutil.copytree(REPO, shared / "Shared-Model")
        os.environ["EXO_MODELS_READ_ONLY_DIRS"] = f"/not/there:{shared}"
        try:
            answer = cluster.command("run", "shared-model", *QUESTION, "--discovery-module", "none")
            assert answer.returncode == 0 and answer.stdout.startswith(ANSWER) and not HUB.sent, answer
            removed = cluster.command("rm", "Shared-Model")
            assert removed.returncode == 1 and "left alone" in removed.stderr, removed
        finally:
            del os.environ["EXO_MODELS_READ_ONLY_DIRS"]
        (cluster.folder / "home").write_text("no folder")
        refused = cluster.command("download", "tiny")
        assert refused.returncode == 1 and str(cluster.folder / "home") in refused.stderr, refused
        assert refused.stderr.count("\n") == 1, refused


@check
def own_layers_only():
    """three nodes of separate homes fetch each their own layers, each byte once, prove them together, and answer as one node does"""
    with HubCluster() as cluster:
        HUB.behave()
        for i in range(3):
            cluster.start("--wait-for-peers", "0", "--spare-layers", "off", env={"EXO_HOME": str(cluster.folder / f"home-{i}")})
        node = cluster.nodes[0].wait_nodes(3)
        assert node.chat("What is exo?", model="tiny").startswith(ANSWER)
        node.wait_layers(3)
        time.sleep(SPARE_IDLE_S + 2)
        assert not node.get("/v1/models/downloads")["data"][0].get("purpose")
        held = [cluster.shard(f"home-{i}")[0] for i in range(3)]
        assert all(0 < size < SIZE * 0.75 for size in held), (held, SIZE)
        assert HUB.large_bytes() <= SIZE * 1.02, (HUB.large_bytes(), SIZE, HUB.sent)
        records = [json.loads(r.read_text()) for r in cluster.folder.glob("home-*/downloads/*/*.partial.json")]
        assert records and all(r["proved"] == r["held"] for r in records), records
        print(f"   {HUB.large_bytes() / SIZE:.3f} of the model's size fetched by three nodes, on disk {[round(h / SIZE, 2) for h in held]}")


@check
def on_several_nodes():
    """exo download brings each node its own layers, each byte once, and shows how far each of them is"""
    with HubCluster() as cluster:
        HUB.behave(speed=400_000)
        for i in range(3):
            cluster.start("--wait-for-peers", "0", "--spare-layers", "off", env={"EXO_HOME": str(cluster.folder / f"home-{i}")})
        node = cluster.nodes[0].wait_nodes(3)
        seen = list(events_of(node, "/v1/models/download", {"model": "tiny", "stream": True, "nodes": []}))
        last = seen[-1]
        assert last["state"] == "done" and {n["name"] for n in last["nodes"]} == {"node-1", "node-2", "node-3"}, last
        for part in last["nodes"]:
            assert part["state"] == "done" and part["done_bytes"] == part["total_bytes"] > 0, last
            assert any(0 < n["done_bytes"] < n["total_bytes"] for event in seen for n in event["nodes"] if n["name"] == part["name"]), seen
        listed = [d for d in node.get("/v1/models/downloads")["data"] if "nodes" in d]
        assert [d["id"] for d in listed] == [last["id"]] and listed[0]["nodes"] == last["nodes"], listed
        spans = sorted((n["layer_begin"], n["layer_end"]) for n in last["nodes"])
        assert spans[0][0] == 0 and all(a[1] == b[0] for a, b in zip(spans, spans[1:])), spans
        held = [cluster.shard(f"home-{i}")[0] for i in range(3)]
        assert all(0 < size < SIZE * 0.75 for size in held), (held, SIZE)
        assert HUB.large_bytes() <= SIZE * 1.02, (HUB.large_bytes(), SIZE, HUB.sent)
        HUB.behave(status=503)
        assert node.chat("What is exo?", model="tiny").startswith(ANSWER) and HUB.large_bytes() == 0, HUB.sent
        print(f"   on disk {[round(h / SIZE, 2) for h in held]}, {len(seen)} events")


@check
def on_named_nodes():
    """exo download --nodes names who shall hold the layers; cancelling ends it everywhere; a wrong name is said"""
    with HubCluster() as cluster:
        HUB.behave(speed=100_000)
        for i in range(2):
            cluster.start("--wait-for-peers", "0", "--spare-layers", "off", env={"EXO_HOME": str(cluster.folder / f"home-{i}")})
        node = cluster.nodes[0].wait_nodes(2)
        wrong = cluster.command("download", "tiny", "--nodes", "node-9", port=node.api_port)
        assert wrong.returncode == 1 and "exo nodes" in wrong.stderr, wrong
        cancelled = None
        for event in events_of(node, "/v1/models/download", {"model": "tiny", "stream": True, "nodes": ["node-2"]}):
            if event["done_bytes"] > 0 and cancelled is None:
                cancelled = call(node, "DELETE", f"/v1/models/downloads/{event['id']}")
        assert cancelled[0] == 200 and event["state"] == "cancelled" and [n["name"] for n in event["nodes"]] == ["node-2"], event
        assert not any(d["state"] == "running" for d in cluster.nodes[1].get("/v1/models/downloads")["data"])
        HUB.behave()
        done = cluster.command("download", "tiny", "--nodes", "node-2", "--json", port=node.api_port)
        answer = json.loads(done.stdout)
        assert done.returncode == 0 and answer["state"] == "done" and [n["name"] for n in answer["nodes"]] == ["node-2"], done
        for path in REPO.glob("*.safetensors"):
            assert (cluster.shard("home-1")[1] / path.name).read_bytes() == path.read_bytes(), path.name
        assert cluster.shard("home-0")[0] < SIZE / 2, "only what opens the model"


@check
def the_same_at_once():
    """three nodes that all want all of a model ask the hub for each byte once, each for a part of its own, and are done sooner than one"""
    file = sparse_repo(FOLDER / "same", 40)
    HUB.repos["test/same"] = FOLDER / "same"
    size = file.stat().st_size
    with HubCluster() as cluster:
        for i in range(3):
            cluster.start("--wait-for-peers", "0", "--spare-layers", "off", env={"EXO_HOME": str(cluster.folder / f"home-{i}")})
        cluster.nodes[0].wait_nodes(3)

        def seconds(nodes):
            HUB.behave(speed=400_000)
            started = time.monotonic()
            for status, answer in in_parallel([lambda n=n: call(n, "POST", "/v1/models/download", {"model": "hf.co/test/same"}) for n in nodes]):
                assert status == 200 and answer["state"] == "done", answer
            assert size <= HUB.large_bytes() <= size * 1.02, (HUB.large_bytes(), size)
            return time.monotonic() - started

        alone = seconds(cluster.nodes[:1])
        assert call(cluster.nodes[0], "DELETE", "/v1/models/test/same")[0] == 200
        together = seconds(cluster.nodes)
        for i in range(3):
            assert (cluster.folder / f"home-{i}" / "downloads" / "test--same" / file.name).stat().st_size == size
        assert together < alone * 0.7, (alone, together)
        print(f"   {together:.1f} s together, {alone:.1f} s one alone; {HUB.large_bytes() / size:.3f} of the size asked of the hub")


@check
def neighbours_first():
    """a node that joins later gets its layers from its neighbours, though the hub gives no weights"""
    with HubCluster() as cluster:
        HUB.behave()
        for i in range(2):
            cluster.start("--wait-for-peers", "0", env={"EXO_HOME": str(cluster.folder / f"home-{i}")})
        node = cluster.nodes[0].wait_nodes(2)
        right = node.chat("What is exo?", model="tiny")
        assert right.startswith(ANSWER), right
        node.wait_layers(2)
        HUB.behave(status=503)
        cluster.start("--wait-for-peers", "0", env={"EXO_HOME": str(cluster.folder / "home-2")})
        node.wait_nodes(3)
        unloaded = cluster.command("unload", "tiny", port=node.api_port)  # the newcomer does not know it
        assert unloaded.returncode == 0, unloaded
        wait_until(lambda: not node.layers(), 5, "the model is unloaded")
        assert node.chat("What is exo?", model="tiny") == right
        node.wait_layers(3)
        assert HUB.large_bytes() == 0 and cluster.shard("home-2")[0] > 0, HUB.sent


def held_of(node):
    """{node id: (spans of layers on disk, those that are spare)} of the one model"""
    spans = lambda list: [(s["layer_begin"], s["layer_end"]) for s in list]
    return {n["id"]: (spans(h["layers"]), spans(h["spare"])) for n in node.topology()["nodes"] for h in n["held"]}


@check
def spare_layers():
    """idle nodes copy the next node's layers from it; when a node dies the answer goes on though the hub gives nothing"""
    with HubCluster() as cluster:
        HUB.behave()
        for i in range(3):
            cluster.start("--wait-for-peers", "0", env={"EXO_HOME": str(cluster.folder / f"home-{i}")})
        node = cluster.nodes[0].wait_nodes(3)
        right, _ = node.chat_stream("What is exo?", model="tiny")
        assert right.startswith(ANSWER), right
        stages = node.topology()["placements"][0]["stages"]
        ring = [(s["node"], (s["layer_begin"], s["layer_end"])) for s in stages]
        assert len(ring) == 3, ring
        wait_until(lambda: all(node_id in held_of(node) for node_id, _ in ring), 10, "all tell what they hold")
        assert [held_of(node)[node_id] for node_id, _ in ring] == [([own], []) for _, own in ring], held_of(node)
        HUB.behave(status=503)
        copied = lambda: all(held_of(node)[ring[i][0]][1] == [ring[(i + 1) % 3][1]] for i in range(3))
        wait_until(copied, SPARE_IDLE_S + 20, "each has the layers of the next")
        assert HUB.large_bytes() == 0, HUB.sent
        held = [cluster.shard(f"home-{i}")[0] for i in range(3)]
        assert all(0 < size < SIZE for size in held), (held, SIZE)
        assert "spare" in cluster.command("models").stdout and "spare" in cluster.command("topology").stdout
        downloads = node.get("/v1/models/downloads")["data"]
        assert any(d.get("purpose", "").startswith("spare layers") and d["state"] == "done" for d in downloads), downloads
        assert not any(m.get("downloading") for m in node.get("/v1/models")["data"])

        own_id = node.topology()["self"]
        text, finish = node.chat_stream("What is exo?", model="tiny", on_piece=lambda n: n == 5 and cluster.nodes[1].kill())
        assert (text, finish) == (right, "stop"), (text, finish)
        node.wait_layers(2)
        assert HUB.large_bytes() == 0, HUB.sent
        assert node.chat("What is exo?", model="tiny") == right

        # Two are left: soon each has all of it, and the next death needs no byte from anywhere.
        whole = lambda: all(h["complete"] for n in node.topology()["nodes"] if n["state"] == "alive" for h in n["held"])
        wait_until(whole, SPARE_IDLE_S + 20, "both have all of it")
        before = node.get("/v1/models/downloads")["data"]
        text, finish = node.chat_stream("What is exo?", model="tiny", on_piece=lambda n: n == 5 and cluster.nodes[2].kill())
        assert (text, finish) == (right, "stop"), (text, finish)
        node.wait_layers(1)
        assert node.get("/v1/models/downloads")["data"] == before

        assert cluster.command("unload", "tiny", port=node.api_port).returncode == 0
        wait_until(lambda: not node.layers(), 5, "the model is unloaded")
        wait_until(lambda: call(node, "DELETE", "/v1/models/tiny-3b")[0] == 200, 5, "the model is removed")
        assert not cluster.shard("home-0")[1].exists()
        wait_until(lambda: own_id not in held_of(node), 5, "it tells that it holds nothing")
        print(f"   on disk with the next node's layers {[round(h / SIZE, 2) for h in held]}")


@check
def ollama_models():
    """what Ollama has pulled is listed and left alone"""
    with HubCluster() as cluster:
        blobs, manifest = FOLDER / "ollama" / "blobs", FOLDER / "ollama" / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "latest"
        gguf = GGUF / "in" / "demo-Q8_0.gguf"
        digest = "ab" * 32
        blobs.mkdir(parents=True)
        manifest.parent.mkdir(parents=True)
        shutil.copy(gguf, blobs / f"sha256-{digest}")
        manifest.write_text(json.dumps({"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}]}))
        disk = json.loads(cluster.command("models", "--disk", "--json").stdout)["data"]
        assert any(m["id"] == "ollama/tiny:latest" for m in disk), disk
        before = sorted((p.name, p.stat().st_mtime_ns) for p in (FOLDER / "ollama").rglob("*"))
        answer = cluster.command("run", "ollama/tiny:latest", *QUESTION, "--discovery-module", "none", "--offline")
        assert answer.returncode == 0 and answer.stdout == RIGHT_GGUF.stdout, (answer, RIGHT_GGUF)
        assert before == sorted((p.name, p.stat().st_mtime_ns) for p in (FOLDER / "ollama").rglob("*"))
        removed = cluster.command("rm", "ollama/tiny:latest")
        assert removed.returncode == 1 and "left alone" in removed.stderr, removed


HUB.stop()
shutil.rmtree(FOLDER, ignore_errors=True)
finish()
