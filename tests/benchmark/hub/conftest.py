"""A fake of the Hub's HTTP API on loopback, as huggingface_hub speaks it, and the project's client pointed at it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml

from benchmark.files.places import ROOT
from benchmark.results.record import Record
from benchmark.results.store import load_records

TOKEN = "hf_theOnlyTokenThatTheFakeAccepts"
DEMO = ROOT / "docs" / "demo"


class FakeHub(ThreadingHTTPServer):
    """Repositories in memory, each a list of commits; large files go through LFS, as on the Hub."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, list[tuple[str, dict[str, bytes]]]] = {}  # commits: hash and files
        self.private: dict[str, bool] = {}
        self.store: dict[str, bytes] = {}  # of LFS, by SHA-256
        self.requests: list[tuple[str, str]] = []
        self.tokens: list[str | None] = []
        self.unsized = False  # whether downloads do not announce their length

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where a client stops reading."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes] | None:
        """Return the files of a commit."""
        commits = self.repos.get(repo, [])
        if revision == "main":
            return commits[-1][1] if commits else None
        return dict(commits).get(revision)

    def commit(self, repo: str, changes: dict[str, bytes]) -> str:
        """Add a commit and return its hash."""
        commits = self.repos.setdefault(repo, [])
        files = (commits[-1][1] if commits else {}) | changes
        name = hashlib.sha1(repr((len(commits), sorted(files.items()))).encode()).hexdigest()
        commits.append((name, files))
        return name


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _reply(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if self.server.unsized and content:
            self.send_header("Connection", "close")
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _json(self, value: object, status: int = 200, **headers: str) -> None:
        self._reply(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def _refused(self, status: int, code: str = "", message: str = "") -> None:
        named = {"X_Error_Code": code} if code else {}
        self._json({"error": message or code}, status, **named, X_Error_Message=message or code)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _begin(self) -> tuple[str, bytes]:
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, path))
        self.server.tokens.append(self.headers.get("Authorization"))
        return path, self._body()

    def do_POST(self) -> None:
        """Create, preupload, commit, and the batch and verify calls of LFS."""
        path, body = self._begin()
        if path == "/api/validate-yaml":
            head = json.loads(body)["content"].split("---")[1]
            return self._json({"errors": [], "warnings": []} if isinstance(yaml.safe_load(head), dict) else {}, 200)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refused(401, message="Invalid credentials in Authorization header")
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] != "me":
                return self._refused(403, message="You don't have the rights to create a model under this namespace")
            taken = name in self.server.repos
            self.server.repos.setdefault(name, [])
            self.server.private.setdefault(name, asked.get("visibility") == "private")
            return self._json({"url": f"{self.server.url}/{name}"}, 409 if taken else 200)
        if match := re.fullmatch(r"/api/models/(\w+/[\w.-]+)/preupload/main", path):
            files = json.loads(body)["files"]
            modes = {True: "lfs", False: "regular"}
            answer = [
                {"path": each["path"], "uploadMode": modes[_is_lfs(each["path"])], "shouldIgnore": False}
                for each in files
            ]
            return self._json({"files": answer})
        if re.fullmatch(r"/\w+/[\w.-]+\.git/info/lfs/objects/batch", path):
            objects = json.loads(body)["objects"]
            for each in objects:
                hrefs = {name: {"href": f"{self.server.url}/lfs/{name}/{each['oid']}"} for name in ("upload", "verify")}
                each["actions"] = hrefs
            return self._json({"transfer": "basic", "objects": objects})
        if match := re.fullmatch(r"/lfs/verify/(\w+)", path):
            return self._reply(200 if match[1] in self.server.store else 404)
        if match := re.fullmatch(r"/api/models/(\w+/[\w.-]+)/commit/main", path):
            changes = dict(self._change(json.loads(line)) for line in body.splitlines()[1:])
            commit = self.server.commit(match[1], changes)
            url = f"{self.server.url}/{match[1]}/commit/{commit}"
            return self._json({"success": True, "commitOid": commit, "commitUrl": url})
        return self._refused(404, "RepoNotFound")

    def _change(self, line: dict[str, Any]) -> tuple[str, bytes]:
        value = line["value"]
        if line["key"] == "lfsFile":
            assert len(self.server.store[value["oid"]]) == value["size"]
            return value["path"], self.server.store[value["oid"]]
        assert line["key"] == "file" and not _is_lfs(value["path"])
        return value["path"], base64.b64decode(value["content"])

    def do_PUT(self) -> None:
        """Take an upload to the store of LFS, which gets no token."""
        path, body = self._begin()
        oid = path.rsplit("/", 1)[1]
        assert path.startswith("/lfs/upload/") and hashlib.sha256(body).hexdigest() == oid
        self.server.store[oid] = body
        self._reply(200)

    def do_GET(self) -> None:
        """Serve a file: large ones by a redirect to the store, with the commit in the header of the first answer."""
        path, _ = self._begin()
        if path.startswith("/store/"):
            _, _, repo, commit, name = path.split("/", 4)
            return self._reply(200, self.server.files(repo.replace("__", "/"), commit)[name])
        match = re.fullmatch(r"/(\w+/[\w.-]+)/resolve/([\w.-]+)/(.+)", path)
        if match is None or match[1] not in self.server.repos:
            return self._refused(401 if match is None or "Authorization" not in self.headers else 404, "RepoNotFound")
        repo, revision, name = match.groups()
        if self.server.private.get(repo) and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self._refused(401, "RepoNotFound")
        files = self.server.files(repo, revision)
        if files is None:
            return self._refused(404, "RevisionNotFound")
        if name not in files:
            return self._refused(404, "EntryNotFound")
        commit = self.server.repos[repo][-1][0] if revision == "main" else revision
        if _is_lfs(name):
            place = f"{self.server.url}/store/{repo.replace('/', '__')}/{commit}/{name}"
            return self._reply(302, Location=place, X_Repo_Commit=commit)
        return self._reply(200, files[name], X_Repo_Commit=commit)


def _is_lfs(name: str) -> bool:
    return name.endswith(".safetensors")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[FakeHub]:
    """Start a fake Hub and point the client at it, with its token; nothing of the user's is read or written."""
    from huggingface_hub import constants

    with FakeHub() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        yield server
        server.shutdown()


@pytest.fixture
def record() -> Record:
    """Return the demonstration board's record of AT."""
    return next(record for record in load_records(DEMO) if record.method.name == "at")
