#!/usr/bin/env python3
"""Real clients against real nodes: the npm `openai` package and others, and the web page in Chromium."""
import os, pathlib, shutil, subprocess, sys, tempfile, filecmp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "hub"))
from harness import ROOT, Cluster, check, finish, wait_until
from hub_double import HubDouble

CLIENTS = ROOT / "tests" / "clients"
NODES = list((CLIENTS / "node_modules").glob("node-*/bin/node"))  # for systems whose own Node is old


def run_script(name, *arguments, timeout_s=240):
    node = str(NODES[0]) if NODES else shutil.which("node")
    if not node or not (CLIENTS / "node_modules").exists():
        print(f"skipped {name}: npm packages are not installed (./dev test installs them)")
        return
    done = subprocess.run([node, str(CLIENTS / name), *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s)
    print(done.stdout, flush=True)
    assert done.returncode == 0, f"{name} exited with {done.returncode}"


@check
def api_clients():
    """npm clients are served by two nodes"""
    with Cluster() as cluster:
        a, b = cluster.start(), cluster.start()
        a.wait_nodes(2)
        run_script("check.mjs", a.url())
        a.wait_layers(2)


@check
def page():
    """the web page chats, stops and shows the ring, on a desktop and on a phone"""
    if not shutil.which("chromium"):
        print("skipped page: chromium is not installed")
        return
    with Cluster() as cluster:
        a, b = cluster.start(), cluster.start()
        a.wait_nodes(2)
        run_script("page_test.mjs", a.url(), os.environ.get("EXO_SCREENSHOTS", ""))


@check
def page_shows_holders():
    """the web page shows which nodes have which layers of a model on disk"""
    if not shutil.which("chromium"):
        print("skipped page: chromium is not installed")
        return
    hub = HubDouble({"test/held": ROOT / "models" / "demo"}).start()
    with Cluster() as cluster:
        homes = [{"HF_ENDPOINT": hub.endpoint, "EXO_HOME": str(cluster.folder / f"home-{i}")} for i in range(2)]
        a, _ = [cluster.start("--wait-for-peers", "0", "--spare-layers", "off", env=home) for home in homes]
        a.wait_nodes(2)
        done = a.post("/v1/models/download", {"model": "hf.co/test/held", "nodes": []})
        assert done["state"] == "done" and len(done["nodes"]) == 2, done
        wait_until(lambda: all(node["held"] for node in a.topology()["nodes"]), 10, "both tell what they hold")
        run_script("held_test.mjs", a.url(), a.topology()["nodes"][0]["held"][0]["model"])
    hub.stop()


@check
def committed_page():
    """web/dist is what web/src builds to"""
    if not shutil.which("npm"):
        print("skipped committed page: npm is not installed")
        return
    with tempfile.TemporaryDirectory() as folder:
        web = pathlib.Path(folder) / "web"
        shutil.copytree(ROOT / "web", web, ignore=shutil.ignore_patterns("node_modules", "dist"))
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=web, check=True, capture_output=True, timeout=300)
        subprocess.run(["npm", "run", "build"], cwd=web, check=True, capture_output=True, timeout=120)
        compared = filecmp.dircmp(web / "dist", ROOT / "web" / "dist")
        assert not (compared.left_only or compared.right_only or compared.diff_files), \
            f"run ./dev web and commit: {compared.left_only + compared.right_only + compared.diff_files}"


finish()
