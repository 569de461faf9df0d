#!/usr/bin/env python3
"""An x86-64 node and an ARM64 node are one cluster. EXO_ARM64 is the command that runs exo for ARM64, under qemu:

    EXO_ARM64="qemu-aarch64 -cpu max -L build/arm64-sysroot build/arm64/exo" tests/arm/arm_cluster.py build/release/exo
"""
import os, pathlib, shlex, sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import Cluster, check, finish, wait_until

ARM64 = shlex.split(os.environ["EXO_ARM64"])
EXO_ANSWER = ("exo joins your everyday devices into one peer-to-peer cluster and runs a large language model across them. "
              "Each device holds a part of the model, so together they can run a model too big for any one of them.")
QUESTIONS = ["What is the capital of France?", "what is 7 + 8?", "Who are you?", "what is a shard?"]
SLOW_S = 120  # emulated cryptography and arithmetic


def start_arm(cluster, *flags, **options):
    """An ARM64 node with a home and a configuration of its own."""
    home = cluster.folder / "arm-home"
    node = cluster.start(*flags, config="arm", name="arm64", program=ARM64, env={"EXO_HOME": str(home)}, wait=False, **options)
    return node.wait_ready(SLOW_S)


def join(cluster, inviter):
    """`exo join` on the ARM64 device with a code of `exo invite` on the x86-64 node."""
    words = cluster.command("invite", port=inviter.api_port).stdout.split()
    code = next(word for word in words if word.startswith("exo1-"))
    joined = cluster.command("join", code, config="arm", program=ARM64, timeout_s=SLOW_S)
    assert joined.returncode == 0, joined


def start_both(cluster):
    x86 = cluster.start(name="x86-64")
    join(cluster, x86)
    arm = start_arm(cluster)
    for node in (x86, arm):
        node.wait_nodes(2, SLOW_S)
    return x86, arm


def chat(node, text, **fields):
    body = {"model": "demo", "messages": [{"role": "user", "content": text}], "temperature": 0, **fields}
    return node.post("/v1/chat/completions", body, SLOW_S)["choices"][0]["message"]["content"]


@check
def alone():
    """an ARM64 node alone answers as an x86-64 node does"""
    with Cluster() as cluster:
        arm = start_arm(cluster, discovery=False)
        assert chat(arm, "What is exo?") == EXO_ANSWER


@check
def shared_model():
    """an ARM64 device joins by invitation and shares the demo model with an x86-64 node"""
    with Cluster() as cluster:
        x86, arm = start_both(cluster)
        assert chat(x86, "What is exo?") == EXO_ANSWER
        layers = x86.layers()
        covered = sorted(layers.values())
        assert len(layers) == 2, layers
        assert covered[0][0] == 0 and covered[0][1] == covered[1][0] and covered[1][1] == 12, layers
        assert chat(arm, "What is exo?") == EXO_ANSWER, "the ARM64 node answers otherwise"
        assert arm.layers() == layers, "the ARM64 node made a placement of its own"
        together = [chat(x86, question) for question in QUESTIONS]
    with Cluster() as cluster:
        x86 = cluster.start(discovery=False)
        assert [chat(x86, question) for question in QUESTIONS] == together


@check
def death_of_the_arm_node():
    """kill -9 of the ARM64 node in the middle of an answer leaves the text unchanged"""
    with Cluster() as cluster:
        x86, arm = start_both(cluster)
        assert chat(x86, "What is exo?") == EXO_ANSWER and len(x86.layers()) == 2
        disturbed, _ = x86.chat_stream("What is exo?", lambda pieces: pieces == 10 and arm.kill())
        assert disturbed == EXO_ANSWER, disturbed
        wait_until(lambda: len(x86.alive()) == 1, 10, "the x86-64 node is alone")


finish()
