"""A server on loopback that speaks a Hugging Face hub's addresses of files, and a second one that holds the bytes."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from contextlib import contextmanager

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(http.server.ThreadingHTTPServer):
    """Serves `files` by REPOSITORY/PATH at any revision; `faults` maps such a name to faults of next requests."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.stated: dict[str, tuple[str, str]] = {}  # size and hash that the hub announces instead of the true ones
        self.seen: list[tuple[str, str, str | None, str | None]] = []  # host, path, Range, Authorization
        self.put: dict[str, bytes] = {}  # uploaded to Git LFS, by hash
        self.refuses = 0  # HTTP status of the answer to every POST
        self.commit = COMMIT

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        host = self.headers["Host"]
        self.server.seen.append((host, self.path, self.headers["Range"], self.headers["Authorization"]))
        if host.startswith("localhost"):  # the other host, to which the hub redirects
            self._bytes(self.path.removeprefix("/bytes/").partition("?")[0])
            return
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        name = f"{found[1]}/{found[3]}" if found else ""
        faults = self.server.faults.get(name, [])
        fault = faults.pop(0) if faults else ""
        body = self.server.files.get(name)
        if body is None or fault.isdigit():
            self.send_error(int(fault or 404))
            return
        size, digest = self.server.stated.get(name, (str(len(body)), hashlib.sha256(body).hexdigest()))
        self.send_response(302)
        self.send_header("X-Linked-Size", size)
        self.send_header("X-Linked-ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", self.server.commit)
        target = f"http://localhost:{self.server.server_port}/bytes/{name}?signature=1&fault={fault}"
        self.send_header("Location", fault if "://" in fault else target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self):
        """What huggingface_hub asks for when it makes a repository and uploads files to it with Git LFS."""
        self.server.seen.append((self.headers["Host"], self.path, None, self.headers["Authorization"]))
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        found = re.search(r"/([^/]+/[^/]+)/(preupload|commit)/main$", self.path)
        repository = found[1] if found else ""
        answer: dict = {}
        if self.server.refuses:
            self.send_error(self.server.refuses)
            return
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            answer = {"url": f"{self.server.url}/{asked['organization']}/{asked['name']}"}
        elif self.path.endswith("/preupload/main"):
            names = [file["path"] for file in json.loads(body)["files"]]
            mode = {True: "lfs", False: "regular"}
            answer = {
                "files": [{"path": n, "uploadMode": mode[n.endswith("rs")], "shouldIgnore": False} for n in names]
            }
        elif self.path.endswith("/objects/batch"):
            for one in (objects := json.loads(body)["objects"]):
                one |= {"actions": {"upload": {"href": f"{self.server.url}/put/{one['oid']}", "header": {}}}}
            answer = {"transfer": "basic", "objects": objects}
        elif self.path.endswith("/commit/main"):
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "file":
                    self.server.files[f"{repository}/{value['path']}"] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    self.server.files[f"{repository}/{value['path']}"] = self.server.put[value["oid"]]
            answer = {
                "success": True,
                "commitOid": COMMIT,
                "commitUrl": f"{self.server.url}/{repository}/commit/{COMMIT}",
            }
        self._json(answer)

    def do_PUT(self):
        self.server.put[self.path.removeprefix("/put/")] = self.rfile.read(int(self.headers["Content-Length"]))
        self._json({})

    def _json(self, answer):
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _bytes(self, name):
        body = self.server.files[name]
        start = int(re.match(r"bytes=(\d+)-", self.headers["Range"] or "bytes=0-")[1])
        if start and start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cut = "fault=cut" in self.path
        self.wfile.write(body[start : start + (len(body) - start) // 2] if cut else body[start:])
        self.close_connection = True


@contextmanager
def running_hub():
    with Hub() as hub:
        threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield hub
        finally:
            hub.shutdown()
