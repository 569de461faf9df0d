#!/usr/bin/env python3
"""A hub that behaves as Hugging Face does, as far as exo sees it, and misbehaves on command.

    hub = HubDouble({"org/name": folder}).start();  hub.endpoint -> HF_ENDPOINT

Two servers: the hub (API, small files, redirects) and the host of the large files. Both count what they send. What
real answers look like: /api/models/R/revision/V, /api/models/R/tree/V?recursive=1 (pages linked by the Link header),
/R/resolve/V/F with X-Repo-Commit, and for LFS files a redirect with X-Linked-ETag (SHA-256) and X-Linked-Size.
Run alone, `hub_double.py ORG/NAME=FOLDER...` prints its address and serves until its standard input ends;
/_double/behave?... and /_double/counts steer it then.
"""
import collections, hashlib, http.server, json, pathlib, re, socket, sys, threading, time, urllib.parse

PAGE = 3  # entries of one page of the tree API; the real one has 1000
GOOD_TOKEN = "hf_good"


class HubDouble:
    def __init__(self, repos, gated=()):
        self.repos = {name: pathlib.Path(folder) for name, folder in repos.items()}
        self.gated = set(gated)
        self.lock = threading.Lock()
        self.sent = collections.Counter()      # bytes of bodies by file name, both hosts
        self.requests = collections.Counter()  # by kind: api, resolve, large
        self.seen_tokens = collections.Counter()  # ("hub" or "large", token)
        self.hashes = {}
        self.behave()

    def behave(self, **wrong):
        """Sets what goes wrong from now on; everything else is right again.
        cut=N, times=M: bodies of large files end after N bytes, M times · flip=N: byte N of a large file is another one
        (times) · changed: another hash in the redirect · html: pages instead of JSON · circle: endless redirects ·
        drip: ten bytes a second · no_ranges: the whole file whatever is asked · status=N, times=M, retry_after=S: this
        status from large files · api_status: the same from the API · speed=N: bytes a second of one large file ·
        keep_counts: what was counted so far stays"""
        self.wrong = wrong
        self.times = wrong.get("times", 1 << 30)
        if wrong.pop("keep_counts", False):
            return self
        self.sent.clear()
        self.requests.clear()
        self.seen_tokens.clear()
        return self

    def once_more(self):
        """Whether the misbehaviour still has a turn; takes it."""
        with self.lock:
            self.times -= 1
            return self.times >= 0

    def start(self):
        self.servers = [Server(("127.0.0.1", 0), kind) for kind in (HubHandler, LargeHandler)]
        for server in self.servers:
            server.hub = self
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.endpoint, self.large = (f"http://127.0.0.1:{server.server_address[1]}" for server in self.servers)
        return self

    def stop(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def commit(self, repo):
        return hashlib.sha1(repo.encode()).hexdigest()

    def sha256(self, path):
        key = (str(path), path.stat().st_mtime_ns)
        if key not in self.hashes:
            with open(path, "rb") as file:
                self.hashes[key] = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
                    else hashlib.sha256(file.read()).hexdigest()
        return self.hashes[key]

    def count(self, name, size):
        with self.lock:
            self.sent[name] += size

    def large_bytes(self):
        return sum(size for name, size in self.sent.items() if is_large(pathlib.Path(name)))


def is_large(path):
    return path.suffix in (".safetensors", ".gguf")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # clients that leave are part of the tests


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a small body would wait 40 ms for the client's acknowledgement

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def answer(self, status, body=b"", kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def token(self, where):
        given = self.headers.get("Authorization", "")
        token = given.removeprefix("Bearer ")
        self.server.hub.seen_tokens[(where, token)] += 1
        return token

    def send_file(self, path, etag, honest):
        """The file or the range asked for. honest: no misbehaviour."""
        hub, wrong = self.server.hub, {} if honest else self.server.hub.wrong
        size = path.stat().st_size
        begin, end, status = 0, size, 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and "no_ranges" not in wrong and self.headers.get("If-Range", etag) == etag:
            begin, end, status = int(asked[1]), min(size, int(asked[2] or size - 1) + 1), 206
            if begin >= size:
                return self.answer(416, Content_Range=f"bytes */{size}")
        self.send_response(status)
        self.send_header("Content-Length", str(end - begin))
        self.send_header("ETag", etag)
        if "no_ranges" not in wrong:
            self.send_header("Accept-Ranges", "bytes")
        if status == 206:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = wrong["cut"] if "cut" in wrong and end - begin > wrong["cut"] and hub.once_more() else None
        flip = wrong["flip"] if "flip" in wrong and begin <= wrong["flip"] < end and hub.once_more() else None
        with open(path, "rb") as file:
            if cut is None and flip is None and not {"drip", "speed"} & set(wrong):
                self.wfile.flush()
                sent = self.connection.sendfile(file, begin, end - begin)
                return hub.count(path.name, sent)
            file.seek(begin)
            at = begin
            while at < end:
                data = bytearray(file.read(min(10 if "drip" in wrong else 16384, end - at)))
                if flip is not None and at <= flip < at + len(data):
                    data[flip - at] ^= 0x40
                if cut is not None and at - begin + len(data) > cut:
                    data = data[:cut - (at - begin)]
                self.wfile.write(data)
                hub.count(path.name, len(data))
                at += len(data)
                if cut is not None and at - begin >= cut:
                    self.wfile.flush()
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                time.sleep(1 if "drip" in wrong else len(data) / wrong["speed"] if "speed" in wrong else 0)


class HubHandler(Handler):
    def do_GET(self):
        hub, wrong = self.server.hub, self.server.hub.wrong
        url = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(url.path)
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(revision|tree)/([^/]+)", path):
            hub.requests["api"] += 1
            if "html" in wrong:
                return self.answer(200, b"<html>Sign in to the hotel's network</html>", "text/html")
            if "api_status" in wrong and hub.once_more():
                return self.answer(wrong["api_status"], b"busy", "text/plain")
            if self.refused(found[1], found[3]):
                return None
            return self.about(found[1]) if found[2] == "revision" else self.tree(found[1], urllib.parse.parse_qs(url.query))
        if path == "/_double/behave":  # for tests in other languages: ?cut=1000&times=3
            hub.behave(**{name: int(values[0]) for name, values in urllib.parse.parse_qs(url.query).items()})
            return self.answer(200)
        if path == "/_double/counts":
            return self.answer(200, json.dumps({"sent": hub.sent, **hub.requests}).encode())
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            hub.requests["resolve"] += 1
            return self.resolve(found[1], found[2], found[3])
        return self.answer(404)

    def refused(self, repo, revision):
        hub, token = self.server.hub, self.token("hub")
        if repo not in hub.repos:  # the real hub says 401 to strangers, so as not to tell what is private
            self.answer(404 if token else 401, X_Error_Code="RepoNotFound")
        elif repo in hub.gated and token != GOOD_TOKEN:
            self.answer(403 if token else 401, X_Error_Code="GatedRepo")
        elif revision not in ("main", hub.commit(repo)):
            self.answer(404, X_Error_Code="RevisionNotFound")
        else:
            return False
        return True

    def about(self, repo):
        self.answer(200, json.dumps({"id": repo, "sha": self.server.hub.commit(repo)}).encode())

    def tree(self, repo, query):
        hub, folder = self.server.hub, self.server.hub.repos[repo]
        entries = []
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder).as_posix()
            if path.is_dir():
                entries.append({"type": "directory", "path": name, "size": 0, "oid": "0" * 40})
                continue
            size = path.stat().st_size
            git = hashlib.sha1(b"blob %d\0" % size + (path.read_bytes() if not is_large(path) else b"pointer")).hexdigest()
            entry = {"type": "file", "path": name, "size": size, "oid": git}
            if is_large(path):
                entry["lfs"] = {"oid": hub.sha256(path), "size": size, "pointerSize": 134}
            entries.append(entry)
        first = int(query.get("cursor", ["0"])[0])
        headers = {}
        if first + PAGE < len(entries):
            headers["Link"] = f'<{hub.endpoint}/api/models/{repo}/tree/{hub.commit(repo)}?recursive=1&cursor={first + PAGE}>; rel="next"'
        self.answer(200, json.dumps(entries[first:first + PAGE]).encode(), **headers)

    def resolve(self, repo, revision, name):
        hub, wrong = self.server.hub, self.server.hub.wrong
        if self.refused(repo, revision):
            return None
        path = hub.repos[repo] / name
        if not path.is_file():
            return self.answer(404, X_Error_Code="EntryNotFound")
        if not is_large(path):
            git = hashlib.sha1(b"blob %d\0" % path.stat().st_size + path.read_bytes()).hexdigest()
            return self.send_file(path, f'"{git}"', True)
        if "circle" in wrong:
            return self.answer(302, Location=self.path)
        sha256 = "0" * 64 if "changed" in wrong else hub.sha256(path)
        return self.answer(302, Location=f"{hub.large}/{repo}/{name}?signature=abc", X_Repo_Commit=hub.commit(repo),
                           X_Linked_ETag=f'"{sha256}"', X_Linked_Size=str(path.stat().st_size))


class LargeHandler(Handler):
    def do_GET(self):
        hub, wrong = self.server.hub, self.server.hub.wrong
        hub.requests["large"] += 1
        self.token("large")
        org, name, file = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path).lstrip("/").split("/", 2)
        if "status" in wrong and hub.once_more():
            return self.answer(wrong["status"], b"no", "text/plain", Retry_After=str(wrong.get("retry_after", 0)))
        return self.send_file(hub.repos[f"{org}/{name}"] / file, '"large-tag"', False)


if __name__ == "__main__":
    served = HubDouble(dict(argument.split("=", 1) for argument in sys.argv[1:])).start()
    print(f"HF_ENDPOINT={served.endpoint}", flush=True)
    sys.stdin.read()
