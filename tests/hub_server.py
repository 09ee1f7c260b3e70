"""A small HTTP server that answers as the Hub does where a model is downloaded or uploaded."""

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_token_of_the_tests"
# Bytes from which a file is sent as a large one: tiny models must be so, too.
LARGE = 2000


@dataclass
class HubState:
    """One model repository: its files, and what was asked of it.

    Args:
        model: `owner/name`.
        files: the folder that holds the repository's files.
        exists: whether there is such a repository yet.
    """

    model: str
    files: Path
    exists: bool = True
    address: str = ""
    created: list[dict[str, Any]] = field(default_factory=list)
    commits: list[list[str]] = field(default_factory=list)
    large: dict[str, bytes] = field(default_factory=dict)

    def names(self) -> list[str]:
        """Return the paths of the files, sorted."""
        return sorted(path.relative_to(self.files).as_posix() for path in self.files.rglob("*") if path.is_file())


class _Handler(BaseHTTPRequestHandler):
    hub: HubState

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def answer(self, content: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def say(self, value: object, status: int = 200, **headers: str) -> None:
        self.answer(json.dumps(value).encode(), status, Content_Type="application/json", **headers)

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        names = hub.names() if hub.exists else []
        revisions = ("main", COMMIT)
        if hub.exists and path in (f"/api/models/{hub.model}/revision/{revision}" for revision in revisions):
            self.say({"id": hub.model, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]})
        elif hub.exists and path in (f"/api/models/{hub.model}/tree/{revision}" for revision in revisions):
            sizes = {name: (hub.files / name).stat().st_size for name in names}
            self.say([{"type": "file", "path": name, "oid": name, "size": size} for name, size in sizes.items()])
        elif (name := path.removeprefix(f"/{hub.model}/resolve/{COMMIT}/")) in names:
            content = (hub.files / name).read_bytes()
            self.answer(content, ETag=f'"{hashlib.sha256(content).hexdigest()}"')
        else:
            self.answer(b"{}", 404, X_Error_Code="RevisionNotFound" if "/revision/" in path else "EntryNotFound")

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.large[self.path.rpartition("/")[2]] = content
        self.answer(b"")

    def do_POST(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.say({"error": "Invalid username or password."}, 401)
        elif path == "/api/repos/create":
            asked = json.loads(content)
            if hub.exists:
                self.say({"error": "You already created this model repo", "url": f"{hub.address}/{hub.model}"}, 409)
                return
            if f"{asked['organization']}/{asked['name']}" != hub.model:
                self.say({"error": "You don't have the rights to create a model under this namespace"}, 403)
                return
            hub.created.append(asked)
            hub.exists = True
            self.say({"url": f"{hub.address}/{hub.model}", "name": hub.model})
        elif path == "/api/validate-yaml":
            self.say({"errors": [], "warnings": []})
        elif path == f"/api/models/{hub.model}/preupload/main":
            modes = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] > LARGE else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for file in json.loads(content)["files"]
            ]
            self.say({"files": modes})
        elif path == f"/{hub.model}.git/info/lfs/objects/batch":
            objects = [
                {**file, "actions": {"upload": {"href": f"{hub.address}/upload/{file['oid']}", "header": {}}}}
                for file in json.loads(content)["objects"]
            ]
            self.say({"transfer": "basic", "objects": objects})
        elif path == f"/api/models/{hub.model}/commit/main":
            self.commit([json.loads(line) for line in content.splitlines()])
        else:
            self.say({"error": "no such address"}, 404)

    def commit(self, operations: list[dict[str, Any]]) -> None:
        """Apply a commit to the files and note it."""
        noted = []
        for operation in operations:
            kind, value = operation["key"], operation["value"]
            if kind == "header":
                continue
            file = self.hub.files / value["path"]
            noted.append(f"{kind} {value['path']}")
            if kind == "deletedFile":
                file.unlink()
                continue
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(base64.b64decode(value["content"]) if kind == "file" else self.hub.large[value["oid"]])
        self.hub.commits.append(noted)
        self.say({"success": True, "commitOid": COMMIT, "commitUrl": f"{self.hub.address}/{self.hub.model}/commit/1"})


@contextmanager
def serve(model: str, files: Path, exists: bool = True) -> Iterator[HubState]:
    """Serve the repository `model` (`owner/name`), whose files lie in the folder `files`."""
    hub = HubState(model, files, exists)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Served", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
