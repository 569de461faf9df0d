#!/usr/bin/env python3
"""Two and three real nodes: they find each other, share the demo model, answer, and survive a death."""
import time

from harness import Cluster, check, finish, in_parallel, wait_until

EXO_ANSWER = ("exo joins your everyday devices into one peer-to-peer cluster and runs a large language model across them. "
              "Each device holds a part of the model, so together they can run a model too big for any one of them.")
QUESTIONS = ["What is exo?", "What is the capital of France?", "hi", "what is 7 + 8?", "Who are you?", "write a poem about the sea",
             "What happens when a device leaves?", "which port does the api use", "6 * 7", "what is a rainbow",
             "What is the capital of Japan?", "how do i add a device?", "tell me a story about a turtle", "what is a shard?",
             "does exo work on a raspberry pi?", "what is a token?", "how does exo split a model?", "thanks", "What is llama?",
             "is it free?"]
LONG = {"ignore_eos": True, "max_tokens": 300}


@check
def two_nodes():
    """two nodes find each other within 3 s, share the layers and answer as one"""
    with Cluster() as cluster:
        alone = cluster.start(discovery=False)
        alone_answer = alone.chat("What is exo?")
        assert alone_answer == EXO_ANSWER, alone_answer
        alone.stop()
        a, b = cluster.start(), cluster.start()
        started = time.monotonic()
        a.wait_nodes(2)
        b.wait_nodes(2)
        assert time.monotonic() - started < 3, "joining took longer than 3 s"
        assert a.chat("What is exo?") == EXO_ANSWER
        a.wait_layers(2)
        layers = a.layers()
        covered = sorted(layers.values())
        assert covered[0][0] == 0 and covered[0][1] == covered[1][0] and covered[1][1] == 12, layers
        assert b.chat("What is exo?") == EXO_ANSWER, "the second node answers otherwise"
        b.wait_layers(2)
        assert b.layers() == layers, "the second node made a placement of its own"


@check
def parallel_answers():
    """20 parallel requests on three nodes equal their single answers"""
    with Cluster() as cluster:
        nodes = [cluster.start() for _ in range(3)]
        for node in nodes:
            node.wait_nodes(3)
        single = [nodes[0].chat(q) for q in QUESTIONS]
        nodes[0].wait_layers(3)
        together = in_parallel([lambda q=q, i=i: nodes[i % 3].chat(q) for i, q in enumerate(QUESTIONS)])
        for question, one, other in zip(QUESTIONS, single, together):
            assert one == other, f"{question}: alone {one!r}, together {other!r}"


@check
def death_of_the_second_node():
    """kill -9 of the second node in the middle of an answer leaves the text unchanged"""
    with Cluster() as cluster:
        a, b = cluster.start(), cluster.start()
        a.wait_nodes(2)
        undisturbed = a.chat_stream("What is exo?", **LONG)
        a.wait_layers(2)
        disturbed = a.chat_stream("What is exo?", lambda pieces: pieces == 20 and b.kill(), **LONG)
        assert disturbed == undisturbed, f"{disturbed} is not {undisturbed}"
        a.wait_nodes(1)
        assert a.chat("What is exo?") == EXO_ANSWER


@check
def graceful_stop():
    """a node that is stopped hands its work over at once"""
    with Cluster() as cluster:
        a, b, c = cluster.start(), cluster.start(), cluster.start()
        for node in (a, b, c):
            node.wait_nodes(3)
        undisturbed = a.chat_stream("What is exo?", **LONG)
        disturbed = a.chat_stream("What is exo?", lambda pieces: pieces == 20 and c.process.terminate(), **LONG)
        assert disturbed == undisturbed, f"{disturbed} is not {undisturbed}"
        assert c.process.wait(10) == 0, "SIGTERM should end with exit code 0"
        wait_until(lambda: len(a.alive()) == 2, 3, "the others know")


@check
def client_that_leaves():
    """a client that closes its stream frees the sequence at once"""
    with Cluster() as cluster:
        a, b = cluster.start(), cluster.start()
        a.wait_nodes(2)
        a.chat("hi")

        class Enough(Exception):
            pass

        def leave(pieces):
            if pieces == 5:
                raise Enough
        try:
            a.chat_stream("What is exo?", leave, ignore_eos=True, max_tokens=450)
        except Enough:
            pass
        wait_until(lambda: a.topology()["requests"]["running"] == 0, 3, "no request runs")


@check
def stranger_and_invitation():
    """a device of another cluster is listed and not linked, until it joins with a one-time code"""
    with Cluster() as cluster:
        a = cluster.start()
        b = cluster.start(config="other")
        wait_until(lambda: a.topology()["foreign_count"] == 1, 10, "the stranger is listed")
        assert "1 device of another cluster nearby: run exo invite there" in cluster.command("status", port=a.api_port).stdout
        assert len(a.alive()) == 1
        code = cluster.command("invite", port=a.api_port).stdout
        code = next(word for word in code.split() if word.startswith("exo1-"))
        b.stop()
        joined = cluster.command("join", code, config="other")
        assert joined.returncode == 1 and "--replace" in joined.stderr, joined
        code = next(word for word in cluster.command("invite", port=a.api_port).stdout.split() if word.startswith("exo1-"))
        joined = cluster.command("join", code, "--replace", config="other")
        assert joined.returncode == 0, joined
        again = cluster.command("join", code, "--replace", config="third")
        assert again.returncode == 1, "a code admits once"
        b = cluster.start(config="other", name="joined")
        a.wait_nodes(2, 3)
        assert a.chat("What is exo?") == EXO_ANSWER


@check
def revoked_device():
    """a revoked device is shut out by every node, also after they start anew"""
    with Cluster() as cluster:
        a, b, c = cluster.start(), cluster.start(), cluster.start()
        for node in (a, b, c):
            node.wait_nodes(3)
        revoked = cluster.command("revoke", "node-3", port=a.api_port)
        assert revoked.returncode == 0 and "shut out" in revoked.stdout, revoked
        for node in (a, b):
            wait_until(lambda node=node: len(node.alive()) == 2, 5, f"{node.name} shuts it out")
        b.stop()
        b = cluster.start(name="node-2")
        for node in (a, b):
            node.wait_nodes(2)
        time.sleep(2)
        assert len(a.alive()) == 2 and len(b.alive()) == 2, "the revoked device came back"
        assert a.chat("What is exo?") == EXO_ANSWER
        unknown = cluster.command("revoke", "nobody", port=a.api_port)
        assert unknown.returncode == 1 and "nobody" in unknown.stderr, unknown


@check
def unload_everywhere():
    """exo unload frees the model on every node that holds a part"""
    with Cluster() as cluster:
        a, b = cluster.start(), cluster.start()
        a.wait_nodes(2)
        b.wait_nodes(2)
        a.chat("hi")
        wait_until(lambda: len(b.layers()) == 2, 5, "the second node knows the placement")
        assert cluster.command("unload", "demo", port=b.api_port).returncode == 0
        for node in (a, b):
            wait_until(lambda node=node: not node.layers(), 5, f"{node.name} holds nothing")
        assert b.chat("What is exo?") == EXO_ANSWER


finish()
