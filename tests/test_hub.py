"""Networks on the Hub: up and down again, by way of a server on this machine that answers as the Hub does."""

import base64
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from test_checkpoint import MODEL, describe

import daair
from daair import checkpoint
from daair.errors import UserError

constants = pytest.importorskip("huggingface_hub.constants", reason="the extra `hub` is not installed")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "someone/small"


class Hub(BaseHTTPRequestHandler):
    """The few answers that an upload and a download need; `server.files` is what has been committed."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        if self.path == "/api/repos/create":
            self.server.created = json.loads(body)
            self.answer({"url": f"{self.server.address}/{NAME}"})
        elif self.path == "/api/validate-yaml":  # of the card
            self.answer({"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            named = [file["path"] for file in json.loads(body)["files"]]
            self.answer({"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in named]})
        elif self.path.endswith("/commit/main"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.server.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(
                {"success": True, "commitOid": COMMIT, "commitUrl": f"{self.server.address}/{NAME}/commit/{COMMIT}"}
            )
        else:
            self.answer({}, 404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))
        _, _, wanted = self.path.partition(f"/{NAME}/resolve/")
        revision, _, file = wanted.partition("/")
        if revision in ("main", COMMIT) and file in self.server.files:
            self.send(200, self.server.files[file], {"ETag": f'"{file}-1"', "X-Repo-Commit": COMMIT})
        else:
            self.send(404, b"{}", {"X-Error-Code": "EntryNotFound" if wanted else "RepoNotFound"})

    def answer(self, content: dict, status: int = 200) -> None:
        self.send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.files, server.created, server.asked = {}, None, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    # What HF_ENDPOINT sets, which is read when the package is imported:
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    template = f"{server.address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = checkpoint.build(MODEL)
    torch.nn.init.normal_(model.out.weight, std=0.1)
    checkpoint.save(tmp_path / "run", model, MODEL, ["noise", "rain"], step=7)
    return tmp_path / "run"


def test_a_network_goes_up_and_comes_down_again(hub: ThreadingHTTPServer, saved: Path) -> None:
    assert daair.push_to_hub(saved, NAME, private=True) == f"hf://{NAME}"
    assert {"name": "small", "organization": "someone", "visibility": "private"}.items() <= hub.created.items()
    assert {*hub.files} == {"README.md", "model.json", "model.safetensors"}
    assert f'daair.load("hf://{NAME}")' in hub.files["README.md"].decode()
    assert dict(hub.asked)[f"/api/models/{NAME}/commit/main"] == "Bearer hf_of_a_test"
    x = torch.rand(1, 3, 13, 17)
    with torch.inference_mode():
        assert torch.equal(daair.load(f"hf://{NAME}")(x), daair.load(saved)(x))
    assert daair.load(f"hf://{NAME}@{COMMIT}").labels == ["noise", "rain"]
    assert checkpoint.describes_network(f"hf://{NAME}")


def test_what_comes_from_the_hub_is_not_trusted(hub: ThreadingHTTPServer, saved: Path) -> None:
    describe(saved, router={"_target_": "os.system", "_partial_": True})
    daair.push_to_hub(saved, NAME)
    with pytest.raises(UserError, match="refused, since it names 'os.system', which is not trusted"):
        daair.load(f"hf://{NAME}")


def test_the_card_of_the_folder_goes_up(hub: ThreadingHTTPServer, saved: Path) -> None:
    (saved / "README.md").write_text("# mine\n")
    daair.push_to_hub(saved / "model.safetensors", NAME)
    assert hub.files["README.md"] == b"# mine\n"


def test_what_is_not_there_is_told_in_one_line(hub: ThreadingHTTPServer, saved: Path) -> None:
    with pytest.raises(UserError, match=r"^hf://someone/small: cannot be downloaded \(.*\)$"):
        daair.load(f"hf://{NAME}")
    with pytest.raises(UserError, match="^hf://a/b/c: must be hf://OWNER/NAME"):
        daair.load("hf://a/b/c")
    (saved / "model.json").unlink()
    with pytest.raises(UserError, match="must be called model.safetensors and have its model.json in the same folder"):
        daair.push_to_hub(saved, NAME)


def test_an_upload_that_reaches_nobody_is_told_in_one_line(hub: ThreadingHTTPServer, saved: Path) -> None:
    hub.shutdown()
    hub.server_close()
    with pytest.raises(UserError, match=r"^hf://someone/small: cannot be uploaded \(.*\)$"):
        daair.push_to_hub(saved, NAME)


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"^hf://a/b: needs huggingface_hub; pip install -e '\.\[hub\]'$"):
        daair.load("hf://a/b")
