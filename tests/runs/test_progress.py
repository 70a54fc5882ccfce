"""How far a run is, by what it logged last."""

import json
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daair.runs.jsonl import TAIL
from daair.runs.progress import evaluation_seconds, progress
from daair.runs.store import read

NOW = datetime(2100, 1, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat(timespec="seconds")


@pytest.fixture
def run(tmp_path: Path):
    """Writes a run of 100 updates that works (in this process) or worked, and what it logged."""

    def make(state: str, rows: list[dict], started: float = 1000, **fields):
        folder = tmp_path / "s/x-00000001/seed0"
        folder.mkdir(parents=True, exist_ok=True)
        status = {"state": state, "steps": 100, "host": socket.gethostname(), "pid": os.getpid(), **fields}
        (folder / "status.json").write_text(json.dumps({"started": ago(started), "updated": ago(started), **status}))
        (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read(folder)

    return make


def test_time_left_follows_the_latest_attempt(run) -> None:
    rows = [{"step": step, "time": ago(5000 - step)} for step in (10, 20, 30)]  # 1 s an update, before it was stopped
    rows += [{"step": step, "time": ago(900 - 10 * step)} for step in (40, 50, 60)]  # 10 s an update since
    look = progress(run("running", rows, step=30), NOW)
    assert (look.step, look.left, look.silent) == (60, 40 * 10 - 300, 300)


def test_a_run_in_evaluation_tells_its_images_and_their_time(run) -> None:
    rows = [{"step": 90, "time": ago(300)}, {"step": 100, "time": ago(200)}]
    look = progress(run("running", rows, step=100, measured=30, images=50, updated=ago(50)), NOW)
    assert (look.evaluates, look.left) == (True, 5 * 20 - 50)
    assert str(look) == "evaluating, 30/50 images" and look.whole(999.0) == look.left
    assert progress(run("running", rows, step=100, images=50, updated=ago(200)), NOW).left is None
    assert not progress(run("interrupted", rows, step=100, measured=30, images=50), NOW).evaluates


def test_the_time_left_in_training_takes_an_evaluation_on_top(run) -> None:
    look = progress(run("running", [{"step": 10, "time": ago(10)}, {"step": 20, "time": ago(0)}]), NOW)
    assert (look.whole(None), look.whole(30.0)) == (80, 110)
    done = run("done", [])
    assert evaluation_seconds([done]) is None
    (done.folder / "summary.json").write_text('{"evaluation_seconds": 40.0}')
    assert evaluation_seconds([done, done]) == 40.0
    (done.folder / "summary.json").write_text("{")
    assert evaluation_seconds([done]) is None


def test_nothing_is_said_of_time_before_there_are_two_lines(run) -> None:
    assert progress(run("running", []), NOW).left is None
    assert progress(run("running", [{"step": 10, "time": ago(10)}]), NOW).left is None
    look = progress(run("running", [{"step": 10, "time": ago(10)}, {"step": 20, "time": ago(0)}]), NOW)
    assert look.left == 80


def test_the_newest_validation_counts(run) -> None:
    rows = [{"step": 10, "time": ago(50), "val/psnr": 20.0}, {"step": 20, "time": ago(40), "val/psnr": 21.5}]
    rows += [{"step": 30, "time": ago(30), "train/loss": 0.1}]
    assert progress(run("running", rows), NOW).psnr == 21.5
    assert progress(run("done", rows, step=100), NOW).psnr == 21.5
    assert progress(run("queued", []), NOW).psnr is None


def test_a_run_that_stands_has_the_step_of_its_checkpoint_and_no_time_left(run) -> None:
    rows = [{"step": 40, "time": ago(50)}, {"step": 50, "time": ago(40)}]
    look = progress(run("interrupted", rows, step=30), NOW)
    assert (look.step, look.left) == (30, None)


def test_only_the_end_of_long_metrics_is_read_and_torn_or_odd_lines_are_passed_over(run, tmp_path: Path) -> None:
    rows = [{"step": k, "time": ago(900 - k / 100), "val/psnr": 1.0, "pad": "x" * 100} for k in range(2000)]
    made = run("running", rows)
    file = made.folder / "metrics.jsonl"
    assert file.stat().st_size > 3 * TAIL
    with open(file, "a") as out:
        out.write('{"step": 3000, "time": "soon"}\n{"step": 4000, "ti')
    look = progress(made, NOW)
    assert (look.step, look.psnr) == (1999, 1.0)
