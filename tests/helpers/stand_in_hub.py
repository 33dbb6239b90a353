"""A model hub on this machine, as far as pushing and pulling need one: the protocol, in memory.

Repositories hold every commit whole. Large files go up by the LFS protocol (batch, put), small ones
within the commit; downloads are by ``resolve``. Every request is written down.
"""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LARGE = (".h5", ".safetensors", ".parquet")


@dataclass
class Repository:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    head: str = ""

    def commit(self, files: dict[str, bytes]) -> str:
        self.files = {**self.files, **files}
        names = repr(
            sorted((name, hashlib.sha1(data).hexdigest()) for name, data in self.files.items())
        )
        self.head = hashlib.sha1(f"{len(self.commits)}{names}".encode()).hexdigest()
        self.commits[self.head] = self.files
        return self.head


class StandInHub:
    """State of the hub; ``repos["datasets/me/x"]`` and ``repos["models/me/x"]``."""

    token = "a-good-token"

    def __init__(self) -> None:
        self.repos: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fail_on = ""  # requests that match are answered with 500
        self.url = ""

    def uploads(self) -> int:
        return sum(line.startswith("PUT ") for line in self.requests)

    def downloads(self) -> list[str]:
        return [line.split("/resolve/")[1].partition("/")[2] for line in self.requests
                if line.startswith("GET ") and "/resolve/" in line]  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: StandInHub

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, *args: object) -> None:
        pass

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        line = f"{self.command} {path}"
        self.hub.requests.append(line)
        if self.hub.fail_on and re.search(self.hub.fail_on, line):
            return self._send(400, {"error": "the stand-in was told to fail"})
        for pattern, answer in self._routes():
            if hit := re.fullmatch(pattern, line):
                return answer(body, **hit.groupdict())
        return self._send(404, {"error": f"the stand-in does not know {line}"})

    def _routes(self):
        repo = r"/api/(?P<repo>(?:models|datasets)/[^/]+/[^/]+)"
        git = r"/(?P<kind>datasets/)?(?P<name>[^/]+/[^/]+)"
        return (
            (r"POST /api/repos/create", self._create),
            (
                r"POST /api/validate-yaml",
                lambda body: self._send(200, {"errors": [], "warnings": []}),
            ),
            (rf"GET {repo}(?:/revision/(?P<revision>[^/]+))?", self._info),
            (rf"GET {repo}/tree/(?P<revision>[^/]+)", self._tree),
            (rf"POST {repo}/preupload/\w+", self._preupload),
            (rf"POST {repo}/commit/\w+", self._commit),
            (rf"POST {git}\.git/info/lfs/objects/batch", self._lfs),
            (r"PUT /lfs/(?P<oid>\w+)", self._put),
            (rf"(?:GET|HEAD) {git}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", self._resolve),
        )

    def _create(self, body: bytes) -> None:
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        key = f"{wanted['type']}s/{name}"
        if not self._allowed():
            return self._send(401, {"error": "Invalid username or password."})
        if key in self.hub.repos:
            return self._send(
                409, {"error": "You already created this repo", "url": f"{self.hub.url}/{name}"}
            )
        self.hub.repos[key] = Repository(private=wanted.get("visibility") == "private")
        self.hub.repos[key].commit({".gitattributes": b""})
        return self._send(200, {"url": f"{self.hub.url}/{key.removeprefix('models/')}"})

    def _info(self, body: bytes, repo: str, revision: str | None) -> None:
        if (found := self._repo(repo)) is None:
            return None
        commit = found.head if revision in (None, "main") else revision
        if commit not in found.commits:
            return self._send(404, {}, {"X-Error-Code": "RevisionNotFound"})
        return self._send(
            200,
            {
                "id": repo.partition("/")[2],
                "sha": commit,
                "private": found.private,
                "siblings": [{"rfilename": name} for name in found.commits[commit]],
                "tags": [],
                "downloads": 0,
                "likes": 0,
            },
        )

    def _tree(self, body: bytes, repo: str, revision: str) -> None:
        if (found := self._repo(repo)) is not None:
            files = found.commits[revision]
            self._send(200, [
                {"type": "file", "path": name, "size": len(data),
                 "oid": hashlib.sha1(data).hexdigest()}
                for name, data in files.items()
            ])  # fmt: skip

    def _preupload(self, body: bytes, repo: str) -> None:
        files = json.loads(body)["files"]
        self._send(200, {"files": [
            {"path": each["path"], "shouldIgnore": False, "oid": None,
             "uploadMode": "lfs" if each["path"].endswith(LARGE) else "regular"}
            for each in files
        ]})  # fmt: skip

    def _lfs(self, body: bytes, kind: str | None, name: str) -> None:
        objects = []
        for each in json.loads(body)["objects"]:
            known = each["oid"] in self.hub.blobs
            href = f"{self.hub.url}/lfs/{each['oid']}"
            objects.append(each if known else {**each, "actions": {"upload": {"href": href}}})
        self._send(200, {"transfer": "basic", "objects": objects})

    def _put(self, body: bytes, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._send(400, {"error": "other bytes than announced"})
        self.hub.blobs[oid] = body
        return self._send(200, {})

    def _commit(self, body: bytes, repo: str) -> None:
        if (found := self._repo(repo)) is None:
            return None
        files = {}
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.hub.blobs[value["oid"]]
        oid = found.commit(files)
        url = f"{self.hub.url}/{repo.removeprefix('models/')}/commit/{oid}"
        return self._send(200, {"commitUrl": url, "commitOid": oid, "success": True})

    def _resolve(self, body: bytes, kind: str | None, name: str, revision: str, path: str) -> None:
        if (found := self._repo(f"{kind or 'models/'}{name}")) is None:
            return
        commit = found.head if revision == "main" else revision
        data = found.commits[commit][path]
        self._send(
            200, data, {"ETag": f'"{hashlib.sha256(data).hexdigest()}"', "X-Repo-Commit": commit}
        )

    def _repo(self, key: str) -> Repository | None:
        found = self.hub.repos.get(key)
        if found is None or (found.private and not self._allowed()):
            self._send(404 if self._allowed() else 401, {}, {"X-Error-Code": "RepoNotFound"})
            return None
        return found

    def _allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def _send(self, status: int, content: object, headers: dict[str, str] | None = None) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@contextmanager
def running_hub() -> Iterator[StandInHub]:
    hub = StandInHub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
