"""A stand-in for a Weights & Biases server: what the real `wandb` package sends is kept, and can be read back from it.

    with WandbStub() as server:        # in a test: server.environment() is what a process needs to talk to it
    python tests/wandb_stub.py         # by hand: prints that environment and serves until it is stopped

It listens on the loopback interface only, keeps everything in memory and knows just the calls that logging a run,
`wandb sync` and `wandb.Api().runs(...)` make (wandb 0.31). `server.refuse(429, 2)` turns the next two queries down.
"""

import base64
import json
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote, unquote, urlsplit

KEY = "0123456789" * 4
ENTITY = "lab"


@dataclass
class StoredRun:
    """What the server knows of a run."""

    id: str
    project: str
    name: str = ""
    group: str = ""
    job_type: str = ""
    config: dict = field(default_factory=dict)
    summary: dict = field(default_factory=dict)
    history: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    updated: dict[str, str] = field(default_factory=dict)  # times of files; of the others it is the heartbeat's
    state: str = "running"
    exit_code: int | None = None
    created: str = ""
    heartbeat: str = ""

    def touch(self) -> None:
        self.heartbeat = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        self.created = self.created or self.heartbeat

    def rows(self) -> list[dict]:
        """The history, one dictionary a step."""
        return [json.loads(line) for line in self.history]

    def settings(self) -> dict:
        """The config as the run gave it."""
        return {key: item["value"] for key, item in self.config.items() if key != "_wandb"}


class WandbStub:
    """The server, from entering the `with` block to leaving it; `runs` are its runs by id."""

    def __init__(self, port: int = 0) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.queries: list[str] = []  # names of the operations, in order of arrival
        self.downloads: list[str] = []  # names of the files that were fetched
        self.lock = threading.Lock()
        self._refusals: list[int] = []
        handler = type("Handler", (_Handler,), {"stub": self})
        self._server = _Server(("127.0.0.1", port), handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> "WandbStub":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def environment(self) -> dict[str, str]:
        """Variables for a process that shall talk to this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}

    def add(self, run: StoredRun) -> StoredRun:
        """A run, as if it had been logged."""
        run.touch()
        self.runs[run.id] = run
        return run

    def refuse(self, status: int, times: int) -> None:
        """Answer the next `times` queries with `status`."""
        self._refusals += [status] * times

    def refusal(self) -> int | None:
        with self.lock:
            return self._refusals.pop(0) if self._refusals else None

    def project(self, name: str) -> list[StoredRun]:
        """Its runs, oldest first."""
        return sorted((run for run in self.runs.values() if run.project == name), key=lambda run: run.created)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, address: object) -> None:
        """Clients hang up whenever they like; anything else is a fault of the stub and shall be seen."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, address)


class _Handler(BaseHTTPRequestHandler):
    stub: WandbStub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = self._body()
        parts = urlsplit(self.path).path.strip("/").split("/")
        if parts == ["graphql"]:
            self._query(json.loads(body))
        elif parts[0] == "files" and parts[-1] == "file_stream":
            with self.stub.lock:
                _stream(self.stub.runs[parts[3]], json.loads(body))
            self._answer({})
        else:  # telemetry
            self._answer({})

    def do_PUT(self) -> None:
        body = self._body()
        _, run, name = urlsplit(self.path).path.strip("/").split("/", 2)
        with self.stub.lock:
            self.stub.runs[run].files[unquote(name)] = body
            self.stub.runs[run].touch()
        self._answer({})

    def do_GET(self) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/", 2)
        run = self.stub.runs.get(parts[1]) if parts[0] == "storage" and len(parts) == 3 else None
        content = run.files.get(unquote(parts[2])) if run else None
        if content is None:
            self._send(404, b"not found", "text/plain")
        else:
            self.stub.downloads.append(unquote(parts[2]))
            self._send(200, content, "application/octet-stream")

    def _query(self, request: dict) -> None:
        name = (re.search(r"\b(?:query|mutation)\s+(\w+)", request["query"]) or ["", ""])[1]
        self.stub.queries.append(name)
        given = self.headers.get("Authorization", "")
        if given != "Basic " + base64.b64encode(f"api:{KEY}".encode()).decode():
            self._send(401, b'{"errors": [{"message": "invalid API key"}]}', "application/json")
            return
        status = self.stub.refusal()
        if status is not None:
            self._send(status, b'{"errors": [{"message": "later"}]}', "application/json")
            return
        with self.stub.lock:
            data = _ANSWERS.get(name, lambda *_: {})(self.stub, request.get("variables") or {})
        self._answer({"data": data})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _answer(self, content: dict) -> None:
        self._send(200, json.dumps(content).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _stream(run: StoredRun, body: dict) -> None:
    """Take in a piece of a run's history and summary, which may arrive twice; or its end."""
    for name, piece in (body.get("files") or {}).items():
        lines = piece["content"]
        if name == "wandb-history.jsonl":
            run.history[piece["offset"] : piece["offset"] + len(lines)] = lines
        elif name == "wandb-summary.json":
            run.summary = json.loads(lines[-1])
    if body.get("complete"):
        run.exit_code = body.get("exitcode", 0)
        run.state = "finished" if run.exit_code == 0 else "failed"
    run.touch()


def _viewer(stub: WandbStub, _: dict) -> dict:
    viewer = {"id": "1", "entity": ENTITY, "username": "tester", "email": "", "flags": "{}", "teams": {"edges": []}}
    return {"viewer": {**viewer, "admin": False, "apiKeys": {"edges": []}}}


def _upsert(stub: WandbStub, given: dict) -> dict:
    id = given.get("name") or base64.b64decode(given["id"]).decode()
    inserted = id not in stub.runs
    run = stub.runs.setdefault(id, StoredRun(id, given.get("project") or "uncategorized"))
    run.state, run.exit_code = "running", None
    run.name = given.get("displayName") or run.name
    run.group = given.get("groupName") or run.group
    run.job_type = given.get("jobType") or run.job_type
    run.config = json.loads(given["config"]) if given.get("config") else run.config
    run.touch()
    return {"upsertBucket": {"bucket": _bucket(run), "inserted": inserted}}


def _bucket(run: StoredRun) -> dict:
    return {
        "id": base64.b64encode(run.id.encode()).decode(),
        "name": run.id,
        "displayName": run.name,
        "description": "",
        "config": json.dumps(run.config),
        "sweepName": None,
        "project": {"id": "cA==", "name": run.project, "entity": {"id": "ZQ==", "name": ENTITY}},
        "historyLineCount": len(run.history),
    }


def _resume(stub: WandbStub, given: dict) -> dict:
    run = stub.runs.get(given["name"])
    if run is None:
        return {"model": {"bucket": None}}
    more = {
        "logLineCount": 0,
        "eventsLineCount": 0,
        "historyTail": json.dumps(run.history[-1:]),
        "eventsTail": "[]",
        "summaryMetrics": json.dumps(run.summary),
        "tags": [],
        "wandbConfig": json.dumps({"t": {}}),
    }
    return {"model": {"bucket": _bucket(run) | more}}


def _create_files(stub: WandbStub, given: dict) -> dict:
    run = given["run"]
    files = [{"name": name, "uploadUrl": f"{stub.url}/storage/{run}/{quote(name)}"} for name in given["files"]]
    return {"createRunFiles": {"runID": run, "uploadHeaders": [], "files": files}}


def _list_runs(stub: WandbStub, given: dict) -> dict:
    runs = stub.project(given["project"])
    if not runs or given["entity"] != ENTITY:
        return {"project": None}
    wanted = json.loads(given.get("filters") or "{}")
    either = wanted.get("$or", [wanted])
    runs = [run for run in runs if any(all(getattr(run, _FIELDS[k]) == v for k, v in one.items()) for one in either)]
    return {"project": {"internalId": "1", "runCount": len(runs), "readOnly": False, "runs": _page(runs, given)}}


_FIELDS = {"group": "group", "jobType": "job_type", "state": "state", "display_name": "name"}


def _one_run(stub: WandbStub, given: dict) -> dict:
    run = stub.runs.get(given["name"])
    return {"project": {"internalId": "1", "run": run and _node(run)}}


def _list_files(stub: WandbStub, given: dict) -> dict:
    run = stub.runs[given["name"]]
    names = sorted(run.files)
    first = int(given.get("fileCursor") or 0)
    last = min(first + (given.get("fileLimit") or 50), len(names))
    files = {
        "edges": [{"node": _file(stub, run, names[i]), "cursor": str(i + 1)} for i in range(first, last)],
        "pageInfo": {"endCursor": str(last), "hasNextPage": last < len(names)},
    }
    return {"project": {"internalId": "1", "run": {"fileCount": len(names), "files": files}}}


def _file(stub: WandbStub, run: StoredRun, name: str) -> dict:
    url = f"{stub.url}/storage/{run.id}/{quote(name)}"
    size = str(len(run.files[name]))
    more = {"mimetype": "", "updatedAt": run.updated.get(name, run.heartbeat), "md5": None}
    return {"id": f"{run.id}/{name}", "name": name, "url": url, "directUrl": url, "sizeBytes": size, **more}


def _page(runs: list[StoredRun], given: dict) -> dict:
    first = int(given.get("cursor") or 0)
    last = min(first + (given.get("perPage") or 50), len(runs))
    edges = [{"node": _node(runs[i]), "cursor": str(i + 1)} for i in range(first, last)]
    return {"edges": edges, "pageInfo": {"endCursor": str(last), "hasNextPage": last < len(runs)}}


def _node(run: StoredRun) -> dict:
    return {
        "id": base64.b64encode(run.id.encode()).decode(),
        "projectId": "1",
        "name": run.id,
        "displayName": run.name,
        "state": run.state,
        "group": run.group,
        "jobType": run.job_type,
        "tags": [],
        "config": json.dumps(run.config),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": "{}",
        "historyKeys": None,
        "sweepName": None,
        "commit": None,
        "readOnly": False,
        "createdAt": run.created,
        "heartbeatAt": run.heartbeat,
        "description": "",
        "notes": "",
        "historyLineCount": len(run.history),
        "user": {"name": "tester", "username": "tester"},
    }


_ANSWERS = {
    "Viewer": _viewer,
    "GetViewer": _viewer,
    "GetDefaultEntity": _viewer,
    "UpsertBucket": _upsert,
    "RunResumeStatus": _resume,
    "CreateRunFiles": _create_files,
    "Runs": _list_runs,
    "Run": _one_run,
    "RunFiles": _list_files,
}


if __name__ == "__main__":
    with WandbStub() as server:
        print(*(f"export {name}={value}" for name, value in server.environment().items()), sep="\n", flush=True)
        while True:
            time.sleep(3600)
