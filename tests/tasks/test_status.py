"""`task=status`: what is printed of runs in every state."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import RUN

from daair.runs.record import Record
from daair.runs.store import read, run_folders
from daair.tasks import status


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two studies with runs in every state; the process of one that should be running is gone."""
    for number, state in enumerate(("queued", "done", "failed", "interrupted", "running", "torn")):
        record = Record(tmp_path / f"runs/rank/rank{2**number}-0000000{number}/seed0")
        record.queue({"seed": 0}, steps=200)
        if state == "torn":
            record.status_file.write_text('{"state": "do')
        elif state != "queued":
            record.start({"seed": 0}, {}, "", 200, device="cpu")
            record.log(100, {"val/psnr": 20.0 + number})
            record.update(state=state, step=100, host="elsewhere", message="loss [nan]" if state == "failed" else "")
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    record.update(state="running", pid=gone.pid, host=socket.gethostname())
    Record(tmp_path / "runs/loss/l1-0000000a/seed3").queue({"seed": 3}, steps=9)
    (tmp_path / "runs/rank/x-00000009/seed0").mkdir(parents=True)
    (tmp_path / "runs/rank/x-00000009/seed0/status.json").write_text("{")
    return tmp_path / "runs"


def printed(runs: Path, *overrides: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", RUN, "task=status", f"paths.runs={runs}", *overrides],
        capture_output=True, text=True, timeout=120, cwd=runs.parent,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time")}
    assert not imported & {"torch", "pandas", "timm", "wandb", "accelerate"}
    errors = [line for line in done.stderr.splitlines() if not line.startswith("import time")]
    return done.returncode, done.stdout, "\n".join(errors)


def test_a_run_that_evaluates_says_so(runs: Path) -> None:
    record = Record(runs / "rank/rank2-00000001/seed0")
    record.update(state="running", step=200, measured=12, images=40)
    _, text, _ = printed(runs, "study=rank")
    (line,) = (line for line in text.splitlines() if line.startswith("rank2-"))
    assert line.rstrip().endswith("evaluating, 12/40 images")


def test_a_study_run_by_run(runs: Path) -> None:
    code, text, errors = printed(runs, "study=rank")
    assert (code, errors) == (0, "")
    first, _, *lines = text.splitlines()
    assert first == "rank: 7 runs: 1 queued, 1 running, 1 done, 1 failed, 2 interrupted, 1 unreadable"
    rows = {line.split()[0].rpartition("-")[0]: re.sub(" +", " ", line.strip()) for line in lines if "-0000000" in line}
    assert list(rows)[:6] == ["rank1", "rank2", "rank4", "rank8", "rank16", "rank32"]  # in natural order
    assert rows["rank1"].endswith(" 0 queued 0/200 0%")
    assert rows["rank2"].endswith(" 0 done 100/200 50% 21.00 elsewhere cpu")
    assert rows["rank4"].endswith(" 0 failed 100/200 50% 22.00 elsewhere cpu loss [nan]")
    assert " running 100/200 50% 24.00 elsewhere cpu" in rows["rank16"]  # nobody here can know better
    assert " 0 interrupted " in rows["rank32"]
    assert " 0 unreadable " in rows["x"]


def test_all_studies_and_a_wrong_one(runs: Path) -> None:
    code, text, errors = printed(runs)
    assert (code, errors) == (0, "")
    assert re.search(r"^loss +1 +1 ", text, re.M) and re.search(r"^rank +7 +1 +1 +1 +1 +2 +1 ", text, re.M)
    code, text, errors = printed(runs, "study=rnk")
    assert (code, text) == (1, "")
    assert errors == f"error: study=rnk: no runs of it in {runs}; did you mean rank?"


def test_of_many_runs_those_that_are_not_done_come_first(runs: Path, capsys: pytest.CaptureFixture) -> None:
    from rich.console import Console

    found = [read(folder) for folder in run_folders(runs, "rank")]
    status.detail(found, Console(width=150), rows=6)
    text = capsys.readouterr().out
    assert "rank2-" not in text and "rank32-" in text and "... and 1 more (status.rows=null shows all)" in text


def test_jobs_of_slurm_are_told(runs: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    found = [read(folder) for folder in run_folders(runs, "rank")]
    for number, run in enumerate(found[:5]):  # queued, done, failed, interrupted, running
        Record(run.folder).hand_over(f"7_{number}")
    for jobs, words in [
        ({"7_0": "PENDING (Priority)", "7_3": "PENDING"}, ["7_0: PENDING (Priority)", "7_3: PENDING", "7_4 is gone"]),
        (None, ["Slurm job 7_0", "Slurm job 7_4"]),
    ]:
        monkeypatch.setattr(status.queue, "jobs", lambda jobs=jobs: jobs)
        status.detail(found, Console(width=300), rows=None)
        text = capsys.readouterr().out
        assert all(word in text for word in words) and text.count("Slurm job") == len(words), text


def test_looking_changes_nothing(runs: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    printed(runs, "study=rank")
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before
    assert json.loads((runs / "loss/l1-0000000a/seed3/status.json").read_text())["state"] == "queued"
