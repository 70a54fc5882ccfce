"""Many run folders: which are found, in which order, and what is said of damaged and foreign ones."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from daair.files import safe_name
from daair.runs.record import Record
from daair.runs.store import find_variant, read, run_folders, studies

NAMES = [
    "rank/rank2-00000001/seed0",
    "rank/rank4-00000002/seed0",
    "rank/rank4-00000002/seed2",
    "rank/rank4-00000002/seed10",
    "rank/rank16-00000003/seed0",
    "study10/a-b-0000000a/seed0",
]
FOREIGN = [
    "rank/.hidden-00000001/seed0",
    "rank/rank4-00000002/.trash/seed0",
    "rank/rank4-00000002/seed01",
    "rank/rank4-00000002/seed",
    "rank/figures/seed0",
    "rank/-00000001/seed0",
    "evaluate/identity/samples",
    ".hydra/x-00000001/seed0",
    "empty",
]


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in reversed(NAMES + FOREIGN):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "rank/rank4-00000002/seed3").write_text("a file")
    (tmp_path / "verify.json").write_text("{}")
    return tmp_path


def status(folder: Path, **fields) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "status.json").write_text(json.dumps(fields))


def test_finds_runs_in_natural_order_and_nothing_else(runs: Path) -> None:
    assert [str(folder.relative_to(runs)) for folder in run_folders(runs)] == NAMES
    assert [str(folder.relative_to(runs)) for folder in run_folders(runs, "rank")] == NAMES[:5]
    assert studies(runs) == ["rank", "study10"]


def test_no_folder_and_no_study_have_no_runs(runs: Path) -> None:
    assert studies(runs / "nix") == [] == list(run_folders(runs, "nix"))


def test_a_folder_of_others_has_no_runs(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as the `lost+found` of a disk; root, who runs these tests in a container, may read any."""
    (runs / "lost+found").mkdir()
    scandir = os.scandir

    def refuse(folder):
        if Path(folder).name == "lost+found":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert studies(runs) == ["rank", "study10"]
    assert [str(folder.relative_to(runs)) for folder in run_folders(runs)] == NAMES
    with pytest.raises(PermissionError):
        list(run_folders(runs, "lost+found"))


def test_a_study_is_found_by_the_name_that_the_config_gives_it(runs: Path) -> None:
    (runs / safe_name("a study!") / "x-00000001" / "seed0").mkdir(parents=True)
    assert len(list(run_folders(runs, "a study!"))) == 1 and not list(run_folders(runs, "a study"))


def test_a_path_says_what_the_run_is(runs: Path) -> None:
    run = read(runs / NAMES[-1])
    assert (run.study, run.label, run.id, run.seed) == ("study10", "a-b", "0000000a", 0)
    assert run.name == NAMES[-1] and run.variant == "a-b-0000000a"
    assert (run.state, run.problem) == ("queued", "")
    with pytest.raises(ValueError, match="not named like a run's folder"):
        read(runs / "evaluate/identity/samples")


def test_the_variant_of_a_config_is_found_whatever_its_label(runs: Path) -> None:
    assert find_variant(runs, "rank", "00000003") == "rank16-00000003"
    assert find_variant(runs, "rank", "0000000a") is None is find_variant(runs, "nix", "00000003")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b'{"state": "do', "cannot be read (Unterminated string"),
        (b"", "cannot be read (Expecting value"),
        (b"\x00" * 200, "cannot be read ("),
        (b"\xff\xfe\xfa", "cannot be read ("),
        (b"[]", "holds no status"),
        (b'{"state": "finished"}', "state: 'finished' is not one of queued, running, done"),
        (b'{"state": "done", "step": "many"}', "step: 'many' is not of type int"),
        (b'{"state": "done", "schema": 99}', "written by a newer version of DaAIR Lab (schema 99, this one knows 1)"),
    ],
)
def test_a_status_that_cannot_be_read_is_told_and_stops_nothing(tmp_path: Path, text: bytes, problem: str) -> None:
    folder = tmp_path / "rank/rank4-00000002/seed0"
    folder.mkdir(parents=True)
    (folder / "status.json").write_bytes(text)
    run = read(folder)
    assert run.problem.startswith(f"{folder / 'status.json'}: {problem}") and "\n" not in run.problem


# As the first version wrote it, before there were `queued`, `finished`, `commit` and `device`.
FIRST_VERSION = """{
  "state": "done",
  "attempt": 2,
  "step": 1200,
  "steps": 1200,
  "host": "somewhere",
  "pid": 4711,
  "started": "2025-11-24T20:11:09+00:00",
  "updated": "2025-11-24T20:15:23+00:00",
  "message": "",
  "schema": 1
}
"""


def test_a_status_of_the_first_version_stays_readable(tmp_path: Path) -> None:
    folder = tmp_path / "demo/daair_tiny-demo-0123abcd/seed0"
    folder.mkdir(parents=True)
    (folder / "status.json").write_text(FIRST_VERSION)
    run = read(folder)
    assert (run.state, run.problem) == ("done", "")
    assert (run.status.attempt, run.status.step, run.status.host, run.status.commit) == (2, 1200, "somewhere", "")


def test_a_run_whose_process_is_gone_was_interrupted(tmp_path: Path) -> None:
    folder = tmp_path / "s/x-00000001/seed0"
    here, begun = socket.gethostname(), "2100-01-01T00:00:00+00:00"
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    status(folder, state="running", host=here, pid=process.pid, started=begun)
    assert (read(folder).state, read(folder).died) == ("running", False)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert (read(folder).state, read(folder).died) == ("interrupted", True), "though its parent has not taken note"
    process.wait()
    assert (read(folder).state, read(folder).died) == ("interrupted", True)
    # The number belongs to a process again, which is younger than the run: this one.
    status(folder, state="running", host=here, pid=os.getpid(), started="2020-01-01T00:00:00+00:00")
    assert read(folder).state == "interrupted"


def test_nobody_judges_processes_of_another_machine(tmp_path: Path) -> None:
    folder = tmp_path / "s/x-00000001/seed0"
    status(folder, state="running", host="elsewhere", pid=2**22 - 1, started="2020-01-01T00:00:00+00:00")
    assert read(folder).state == "running"


def test_reading_writes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "s/x-00000001/seed0"
    Record(folder).queue({"a": 1}, steps=3)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert read(folder).status.steps == 3 and studies(tmp_path) == ["s"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
