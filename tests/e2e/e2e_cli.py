#!/usr/bin/env python3
"""The command line: help, exit codes, run with and without a node, ports, probes."""
import contextlib, json, os, pathlib, re, shutil, socket, struct, subprocess, sys, time
import urllib.error, urllib.request

from harness import EXO, ROOT, Cluster, check, finish, free_port
from harness import wait_until

DEMO = ROOT / "models" / "demo"
ANSWER = "exo joins your everyday devices into one peer-to-peer cluster"


@check
def help_teaches():
    """--help of every verb shows examples; wrong usage exits with 2"""
    with Cluster() as cluster:
        top = cluster.command("--help")
        assert top.returncode == 0 and "exo invite" in top.stdout and "Exit codes" in top.stdout
        for verb in ["serve", "run", "status", "nodes", "topology", "cluster", "models", "load", "invite", "join", "bench", "debug"]:
            shown = cluster.command(verb, "--help")
            assert shown.returncode == 0 and "Examples:" in shown.stdout, (verb, shown.stdout)
        for wrong in (["nonsense"], ["run"], ["--no-such-flag"], ["serve", "--inference-engine", "magic"], ["bench"]):
            assert cluster.command(*wrong).returncode == 2, wrong


@check
def run_without_a_node():
    """exo run answers without a running node, on standard output alone"""
    with Cluster() as cluster:
        answer = cluster.command("run", "demo", "--prompt", "What is exo?", "--temperature", "0", "--stats",
                                 "--listen-port", str(cluster.udp_port), "--broadcast-port", str(cluster.udp_port))
        assert answer.returncode == 0 and answer.stdout.startswith(ANSWER) and answer.stdout.count("\n") == 1, answer
        assert "time to first token" in answer.stderr and "tokens/s" in answer.stderr
        folder = cluster.command("run", str(DEMO), "--prompt", "What is exo?", "--temperature", "0", "--discovery-module", "none")
        assert folder.returncode == 0 and folder.stdout.startswith(ANSWER), folder
        missing = cluster.command("run", "no-such-model", "--prompt", "hi", "--discovery-module", "none")
        assert missing.returncode == 1 and "no-such-model" in missing.stderr and not missing.stdout, missing


@check
def run_with_a_node():
    """exo run uses the running node, and takes its prompt from a pipe too"""
    with Cluster() as cluster:
        node = cluster.start("--discovery-module", "none")
        piped = cluster.command("run", "demo", "--temperature", "0", input="What is exo?\n")
        assert piped.returncode == 0 and piped.stdout.startswith(ANSWER), piped
        assert node.topology()["requests"]["started"] == 1, "the running node was not used"
        by_path = cluster.command("run", str(DEMO), "--prompt", "What is exo?", "--temperature", "0")
        assert by_path.returncode == 0 and by_path.stdout.startswith(ANSWER), by_path
        answer = json.loads(cluster.command("run", "demo", "--prompt", "hi", "--json").stdout)
        assert answer["finish_reason"] == "stop" and answer["completion_tokens"] > 0


@check
def shown_states():
    """status, nodes, topology, cluster, models and load speak to people and to machines"""
    with Cluster() as cluster:
        none = cluster.command("status")
        assert none.returncode == 1 and "start one with `exo`" in none.stderr, none
        node = cluster.start("--discovery-module", "none", name="kitchen")
        assert cluster.command("load", "demo").returncode == 0
        for verb in ["status", "nodes", "topology", "cluster", "models"]:
            people, machines = cluster.command(verb), cluster.command(verb, "--json")
            assert people.returncode == 0 and people.stdout.strip(), (verb, people)
            json.loads(machines.stdout)
        assert "kitchen" in cluster.command("topology").stdout
        assert "layers 0-11 (12 of 12)" in cluster.command("topology").stdout, cluster.command("topology").stdout
        assert cluster.command("nodes", "--wait", "2", "--timeout", "1").returncode == 1
        assert cluster.command("unload", "demo").returncode == 0
        wait_until(lambda: not node.layers(), 5, "the model is unloaded")


@check
def ports():
    """a port that was asked for and that another exo holds is a clear error"""
    with Cluster() as cluster:
        a = cluster.start("--discovery-module", "none")
        asked = subprocess.run([EXO, "serve", "--chatgpt-api-port", str(a.api_port), "--discovery-module", "none"],
                               env=cluster.environment(), text=True, capture_output=True, timeout=20)
        assert asked.returncode == 1 and str(a.api_port) in asked.stderr, asked


@check
def next_free_port():
    """where no port was asked for, the next free one after another exo's is taken and printed, whoever holds those between"""
    with Cluster() as cluster, contextlib.ExitStack() as held:
        def start(config):
            """A node's port; 0 where a passing connection of this machine has the default one."""
            process = subprocess.Popen([EXO, "serve", "--disable-tui", "--discovery-module", "none"], env=cluster.environment(config),
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            held.callback(process.kill)
            lines = []
            for line in process.stdout:
                lines.append(line)
                if found := re.search(r"http://localhost:(\d+)", line):
                    return int(found[1])
            assert "port 52415 is taken by another program: choose one with --chatgpt-api-port" in "".join(lines), lines
            return 0
        port = wait_until(lambda: start("one"), 60, "port 52415 is free or another exo's")
        between = held.enter_context(socket.socket())
        with contextlib.suppress(OSError):  # another program has it: as good
            between.bind(("127.0.0.1", port + 1))
            between.listen()
        next_port = start("two")
        assert next_port > port + 1, (port, next_port)
        status = json.load(urllib.request.urlopen(f"http://127.0.0.1:{next_port}/health", timeout=5))
        assert status["status"] == "ok", status


@check
def served_to_the_network():
    """--api-host 0.0.0.0 wants a key, answers on this machine's other address, and only with the key"""
    with Cluster() as cluster:
        refused = subprocess.run([EXO, "serve", "--api-host", "0.0.0.0", "--discovery-module", "none", "--chatgpt-api-port", str(free_port())],
                                 env=cluster.environment(), text=True, capture_output=True, timeout=20)
        assert refused.returncode == 1 and "--api-key" in refused.stderr, refused
        node = cluster.start("--api-host", "0.0.0.0", "--api-key", "secret", "--discovery-module", "none")
        addresses = subprocess.run(["hostname", "-I"], text=True, capture_output=True).stdout.split()
        host = next((a for a in addresses if "." in a), "127.0.0.1")

        def models(headers):
            request = urllib.request.Request(f"http://{host}:{node.api_port}/v1/models", headers=headers)
            try:
                return urllib.request.urlopen(request, timeout=5).status
            except urllib.error.HTTPError as error:
                return error.code
        assert models({}) == 401
        assert models({"Authorization": "Bearer wrong"}) == 401
        assert models({"Authorization": "Bearer secret"}) == 200
        assert models({"Authorization": "Bearer secret", "Host": "evil.example"}) in (400, 403)
        shown = cluster.command("status").stdout
        assert host == "127.0.0.1" or f"http://{host}:{node.api_port}" in shown, shown


@check
def signals():
    """SIGTERM ends a node with exit code 0, and at once where nothing is being answered, though the page is open"""
    with Cluster() as cluster:
        node = cluster.start("--discovery-module", "none")
        with urllib.request.urlopen(f"http://127.0.0.1:{node.api_port}/v1/cluster/events", timeout=5) as page:
            assert page.readline().startswith(b"event: topology")
            started = time.monotonic()
            assert node.stop() == 0
            took = time.monotonic() - started
            assert took < 1.5, took
            page.read()  # an end, not a broken connection


@check
def probes():
    """debug tokenize, template, logits, generate and perplexity; bench"""
    with Cluster() as cluster:
        texts = "\n".join(json.dumps({"text": t}) for t in ["Hello, world!", "", "<|im_start|>user"])
        ids = [json.loads(l)["ids"] for l in cluster.command("debug", "tokenize", "--model", str(DEMO), input=texts).stdout.splitlines()]
        assert ids[0] == [774, 47, 1325, 36] and ids[1] == [] and ids[2][0] == 1, ids
        back = cluster.command("debug", "tokenize", "--model", str(DEMO), "--decode", input=json.dumps({"ids": ids[0]})).stdout
        assert json.loads(back)["text"] == "Hello, world!", back
        chat = json.dumps({"messages": [{"role": "user", "content": "hi"}], "add_generation_prompt": True})
        text = json.loads(cluster.command("debug", "template", "--model", str(DEMO), input=chat).stdout)["text"]
        assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n", text
        prompt = json.loads((DEMO / "golden" / "prompts.json").read_text())[0]
        tokens = ",".join(map(str, prompt["ids"]))
        out = cluster.folder / "logits.npy"
        done = cluster.command("debug", "logits", "--model", str(DEMO), "--tokens", tokens, "--out", str(out), "--exact")
        assert done.returncode == 0, done
        mine, golden = out.read_bytes(), (DEMO / "golden" / prompt["logits"]).read_bytes()
        def floats(npy):
            start = 10 + struct.unpack_from("<H", npy, 8)[0]
            return struct.unpack(f"<{(len(npy) - start) // 4}f", npy[start:])
        worst = max(abs(a - b) for a, b in zip(floats(mine), floats(golden), strict=True))
        assert worst <= 5e-4, worst
        for shards in ([], ["--shards", "0:5,5:12"]):
            made = cluster.command("debug", "generate", "--model", str(DEMO), "--tokens", tokens, "-n", "48", "--exact", *shards)
            assert [int(i) for i in made.stdout.replace(",", " ").split()] == prompt["greedy"], made
        told, scrambled = (json.loads(cluster.command("debug", "perplexity", "--model", str(DEMO), input=text).stdout)
                           for text in ("exo uses port 52415 for its API and its web page.", "web 52415 page API exo. its and port for uses its"))
        assert told["tokens"] > 8 and told["perplexity"] < scrambled["perplexity"], (told, scrambled)
        bench = json.loads(cluster.command("bench", "demo", "-p", "64", "-n", "16", "-r", "1", "--read-bandwidth", "--json").stdout)
        assert bench["prefill"]["tokens_per_s"] > 0 and bench["decode"]["tokens_per_s"] > 0, bench
        assert bench["read"]["gb_per_s"] > 0 and bench["read"]["decode_share"] > 0, bench


@check
def broken_models():
    """a truncated model folder is a clear error"""
    with Cluster() as cluster:
        broken = cluster.folder / "broken"
        shutil.copytree(DEMO, broken, ignore=shutil.ignore_patterns("golden", "scripts"))
        for name, cut in (("model.safetensors", 5_000_000), ("model.safetensors", 100), ("tokenizer.json", 2000), ("config.json", 40)):
            whole = (DEMO / name).read_bytes()
            (broken / name).write_bytes(whole[:cut])
            failed = cluster.command("run", str(broken), "--prompt", "hi", "--discovery-module", "none")
            assert failed.returncode == 1 and name in failed.stderr, (name, failed)
            (broken / name).write_bytes(whole)
        (broken / "model.safetensors").unlink()
        failed = cluster.command("run", str(broken), "--prompt", "hi", "--discovery-module", "none")
        assert failed.returncode == 1 and "safetensors" in failed.stderr, failed


finish()
