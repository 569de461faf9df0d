#!/usr/bin/env python3
"""Pictures from a file to an answer: one node and two, over the command line and the API."""
import base64, json, urllib.error, urllib.request

from harness import ROOT, Cluster, check, finish

PICTURES = ROOT / "tests" / "golden" / "pictures"
MODEL = ROOT / "tests" / "golden" / "models" / "llava" / "bf16"
TOKENS = 24


def run(cluster, *pictures, prompt="What is it?", port=None, model=MODEL):
    images = [flag for picture in pictures for flag in ("--image", str(PICTURES / picture))]
    flags = ["--discovery-module", "none"] if port is None else []
    return cluster.command("run", str(model), *images, "--prompt", prompt, "--temperature", "0", "--max-tokens", str(TOKENS),
                           "--json", *flags, port=port)


def text_of(done):
    assert done.returncode == 0, done
    return json.loads(done.stdout)["text"]


def refusal(node, model, url):
    body = {"model": model, "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    request = urllib.request.Request(node.url("/v1/chat/completions"), json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            raise AssertionError(f"answered: {answer.read()[:200]}")
    except urllib.error.HTTPError as error:
        assert error.code == 400, error.code
        return json.load(error)["error"]["message"]


@check
def seen_by_one_and_by_two():
    """an answer about a picture depends on it, and is the same on one node and on two"""
    with Cluster() as cluster:
        answers = [text_of(run(cluster, *pictures)) for pictures in (["picture1.png"], ["picture2.png"], ["picture1.png", "picture2.png"], [])]
        assert len(set(answers)) == 4, answers
        assert text_of(run(cluster, "picture1.png")) == answers[0]
        nodes = [cluster.start("--context-length", "256"), cluster.start("--context-length", "256")]
        for node in nodes:
            node.wait_nodes(2)
        assert text_of(run(cluster, "picture1.png", port=nodes[0].api_port)) == answers[0]
        nodes[0].wait_layers(2)
        assert text_of(run(cluster, "picture2.png", port=nodes[1].api_port)) == answers[1]
        assert text_of(run(cluster, "picture1.png", "picture2.png", port=nodes[1].api_port)) == answers[2]
        # Asked again, the picture's part of the prompt comes from the prefix cache.
        assert text_of(run(cluster, "picture1.png", port=nodes[1].api_port)) == answers[0]


@check
def refused():
    """what cannot be seen is a clear error: a text model, a broken picture, a URL to fetch"""
    with Cluster() as cluster:
        picture = "data:image/png;base64," + base64.b64encode((PICTURES / "picture1.png").read_bytes()).decode()
        blind = run(cluster, "picture1.png", model=ROOT / "models" / "demo")
        assert blind.returncode == 1 and "takes text only" in blind.stderr, blind
        node = cluster.start()
        assert "demo takes text only" in refusal(node, "demo", picture)
        assert "does not fetch" in refusal(node, "demo", "http://127.0.0.1:1/x.png")
        assert "PNG: the file" in refusal(node, str(MODEL), picture[:202])
        bad = run(cluster, "../../../README.md", port=node.api_port)
        assert bad.returncode == 1 and "no picture" in bad.stderr, bad


finish()
