"""Real exo processes for end-to-end tests. Each check prints "ok NAME" or "FAILED NAME: why"."""
import contextlib, itertools, json, os, pathlib, random, re, shutil, signal, socket, struct, subprocess, sys, tempfile, threading, time, traceback
import urllib.error, urllib.request

EXO = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "build/release/exo")
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
_failures = 0


def sparse_repo(folder, megabytes):
    """A model of mostly zeros: long to hash, quick to make. Its weights are no model."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    size = megabytes * 1_000_000
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + size)
    return folder / "model.safetensors"


def check(function):
    """Runs one check at once and reports it."""
    global _failures
    name = function.__doc__ or function.__name__.replace("_", " ")
    if len(sys.argv) > 2 and not re.search(sys.argv[2], name):
        return function
    try:
        function()
        print(f"ok {name}", flush=True)
    except Exception as error:
        _failures += 1
        print(f"FAILED {name}: {error}", flush=True)
        traceback.print_exc()
    return function


def finish():
    sys.exit(1 if _failures else 0)


def free_port(kind=socket.SOCK_STREAM):
    """A free port below those that systems give to outgoing connections, so that none takes it before the node does."""
    while True:
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", random.randrange(20000, 32000)))
            return probe.getsockname()[1]


def wait_until(condition, timeout_s, what):
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {timeout_s} s")


class Cluster:
    """Nodes that share a UDP port of their own, so that tests never meet each other or a real cluster."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="exo-e2e-"))
        self.udp_port = free_port(socket.SOCK_DGRAM)
        self.nodes = []

    def start(self, *flags, config="config", name=None, wait=True, **kwargs):
        node = NodeProcess(self, flags, config, name or f"node-{len(self.nodes) + 1}", **kwargs)
        self.nodes.append(node)
        if wait:
            node.wait_ready()
        return node

    def environment(self, config="config"):
        return {**os.environ, "EXO_CONFIG_DIR": str(self.folder / config), "EXO_HOME": str(self.folder / "home"), "NO_COLOR": "1"}

    def command(self, *arguments, config="config", timeout_s=60, input=None, port=None, program=(EXO,)):
        env = self.environment(config)
        if port:
            env["EXO_API_PORT"] = str(port)
        return subprocess.run([*program, *arguments], env=env, text=True, capture_output=True, timeout=timeout_s,
                              input=input, stdin=None if input is not None else subprocess.DEVNULL)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        for node in self.nodes:
            node.kill()
        if kind:
            for node in self.nodes:
                print(f"--- {node.name}\n{node.log()[-3000:]}", flush=True)
        shutil.rmtree(self.folder, ignore_errors=True)


class NodeProcess:
    def __init__(self, cluster, flags, config, name, discovery=True, env=None, preexec=None, program=(EXO,)):
        self.cluster, self.name = cluster, name
        self.api_port = free_port()
        self.log_path = cluster.folder / f"{name}.log"
        arguments = [*program, "serve", "--disable-tui", "--node-id", name]
        if "--chatgpt-api-port" not in flags:
            arguments += ["--chatgpt-api-port", str(self.api_port)]
        if discovery:
            arguments += ["--listen-port", str(cluster.udp_port), "--broadcast-port", str(cluster.udp_port)]
        self.process = subprocess.Popen([*arguments, *map(str, flags)], env={**cluster.environment(config), **(env or {})},
                                        stdout=open(self.log_path, "w"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                        preexec_fn=preexec)

    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_ready(self, timeout_s=15):
        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended with {self.process.returncode}: {self.log()[-2000:]}")
            with contextlib.suppress(OSError, ValueError):
                return self.get("/health")["status"] == "ok"
        wait_until(ready, timeout_s, f"{self.name} answers")
        return self

    def url(self, path=""):
        return f"http://127.0.0.1:{self.api_port}{path}"

    def get(self, path):
        with urllib.request.urlopen(self.url(path), timeout=10) as answer:
            return json.load(answer)

    def post(self, path, body, timeout_s=60):
        request = urllib.request.Request(self.url(path), json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read().decode(errors='replace')[:500]}") from error

    def chat(self, text, **fields):
        body = {"model": "demo", "messages": [{"role": "user", "content": text}], "temperature": 0, **fields}
        return self.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]

    def chat_stream(self, text, on_piece=None, **fields):
        """(text, finish_reason) of a streamed answer; on_piece(number of pieces so far) after each."""
        body = {"model": "demo", "messages": [{"role": "user", "content": text}], "temperature": 0, "stream": True, **fields}
        request = urllib.request.Request(self.url("/v1/chat/completions"), json.dumps(body).encode(), {"Content-Type": "application/json"})
        whole, finish, pieces = "", None, 0
        with urllib.request.urlopen(request, timeout=60) as answer:
            for line in answer:
                if not line.startswith(b"data: ") or line.strip() == b"data: [DONE]":
                    continue
                chunk = json.loads(line[6:])
                if "error" in chunk:
                    raise AssertionError(f"the stream ended with {chunk['error']}")
                for choice in chunk["choices"]:
                    piece = choice["delta"].get("content") or ""
                    whole += piece
                    finish = choice["finish_reason"] or finish
                    if piece and on_piece:
                        pieces += 1
                        on_piece(pieces)
        return whole, finish

    def topology(self):
        return self.get("/v1/topology")

    def alive(self):
        return [n for n in self.topology()["nodes"] if n["self"] or (n["state"] == "alive" and n["linked"])]

    def wait_nodes(self, count, timeout_s=10):
        """Until it sees so many, and has heard that each of them is linked with each other one: the next placement counts them all."""
        def meshed():
            nodes = {n["id"] for n in self.alive()}
            linked = {frozenset((link["from"], link["to"])) for link in self.topology()["links"]}
            return len(nodes) == count and all(frozenset(pair) in linked for pair in itertools.combinations(nodes, 2))
        wait_until(meshed, timeout_s, f"{self.name} sees {count} nodes")
        return self

    def wait_layers(self, count, timeout_s=5):
        """Until it has heard of a ready placement on so many nodes, which it may after the first answer."""
        wait_until(lambda: len(self.layers()) == count, timeout_s, f"{self.name} knows a placement on {count} nodes")

    def layers(self):
        """{node id: (first, end)} of the first ready placement."""
        ready = [p for p in self.topology()["placements"] if p["state"] == "ready"]
        return {s["node"]: (s["layer_begin"], s["layer_end"]) for s in ready[0]["stages"]} if ready else {}

    def stop(self, timeout_s=10):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def in_parallel(tasks):
    """Results of callables run at once; the first exception is raised."""
    results, errors = [None] * len(tasks), []

    def work(i):
        try:
            results[i] = tasks[i]()
        except Exception as error:
            errors.append(error)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
