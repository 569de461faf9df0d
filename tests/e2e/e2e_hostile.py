#!/usr/bin/env python3
"""Strangers and faults: garbage on every port, wrong keys, a disk that is full. The node stays alive."""
import os, random, resource, socket, subprocess, time

from harness import EXO, Cluster, check, finish, free_port, wait_until

SECONDS = float(os.environ.get("EXO_GARBAGE_SECONDS", "4"))
ANSWER = "exo joins your everyday devices"


def garbage(rng):
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 4000))
    if kind == 1:  # half a TLS hello
        return b"\x16\x03\x01" + rng.randbytes(rng.randrange(2, 600))
    if kind == 2:  # HTTP/2 preface and frames
        return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(rng.randrange(9, 900))
    if kind == 3:
        return (f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {rng.choice(['-1', '5', '99999999999', 'x'])}\r\n\r\n").encode() + rng.randbytes(50)
    if kind == 4:
        return b"GET /" + b"a" * rng.randrange(10, 70000) + b" HTTP/1.1\r\n\r\n"
    return b"EXO" + bytes([rng.randrange(256)]) * rng.randrange(1, 1500)


def throw_tcp(port, rng):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            link.settimeout(0.05)
            for _ in range(rng.randrange(1, 4)):
                link.sendall(garbage(rng))
            try:
                link.recv(4096)
            except OSError:
                pass
    except OSError:
        pass


def throw_udp(port, rng):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for target in ("127.0.0.1", "127.255.255.255"):
            try:
                link.sendto(garbage(rng)[:1400], (target, port))
            except OSError:
                pass


@check
def garbage_on_every_port():
    """garbage on the API, node and discovery ports leaves both nodes linked and answering"""
    with Cluster() as cluster:
        a, b = cluster.start(), cluster.start()
        a.wait_nodes(2)
        status = a.topology()
        rng = random.Random(7)
        for throw, port in ((throw_tcp, a.api_port), (throw_tcp, status["node_port"]), (throw_udp, cluster.udp_port)):
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                throw(port, rng)
            assert a.process.poll() is None, "the node died"
            assert a.chat("What is exo?").startswith(ANSWER)
        a.wait_nodes(2)


@check
def wrong_cluster_key():
    """a peer with another cluster's key is refused with what to do"""
    with Cluster() as cluster:
        a = cluster.start("--discovery-module", "none")
        peers = cluster.folder / "peers.json"
        peers.write_text('{"peers": {"a": {"address": "127.0.0.1", "port": %d}}}' % a.topology()["node_port"])
        b = cluster.start("--discovery-module", "manual", "--discovery-config-path", str(peers), config="other", discovery=False)
        wait_until(lambda: "exo invite" in b.log(), 10, "the refusal says what to do")
        assert len(a.alive()) == 1 and len(b.alive()) == 1


@check
def manual_discovery():
    """a peers file is followed as it changes; a bad edit keeps the last good set"""
    with Cluster() as cluster:
        a = cluster.start("--discovery-module", "none")
        peers = cluster.folder / "peers.json"
        peers.write_text('{"peers": {}}')
        b = cluster.start("--discovery-module", "manual", "--discovery-config-path", str(peers), discovery=False)
        peers.write_text('{"peers": {"a": {"address": "127.0.0.1", "port": %d}}}' % a.topology()["node_port"])
        b.wait_nodes(2)
        peers.write_text('{"peers": {"a": ')
        wait_until(lambda: "peers.json" in b.log(), 10, "the bad edit is reported")
        b.wait_nodes(2)


@check
def full_disk():
    """a disk that is full while the node's state is written is a clear error"""
    with Cluster() as cluster:
        def no_room():
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        done = subprocess.run([EXO, "serve", "--discovery-module", "none", "--chatgpt-api-port", str(free_port())],
                              env=cluster.environment("full"), text=True, capture_output=True, timeout=20, preexec_fn=no_room)
        assert done.returncode == 1 and "cannot write" in done.stderr, done


finish()
