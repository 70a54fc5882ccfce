"""The worker: what it does with a folder, what it says, what it leaves in the status."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import alive

from daair import cli
from daair.config.identity import run_name
from daair.config.jobs import Composer
from daair.config.validate import validate
from daair.launch import worker
from daair.runs.record import Record

TASKS = """
import os, signal
from daair.errors import UserError

def note(job):
    config = job.config
    with open("jobs.txt", "a") as file:
        print(config.label, file=file)
    return 3 if config.label == "three" else 0

def refuse(job):
    config = job.config
    raise UserError("seed: is odd")

def bug(job):
    config = job.config
    raise RuntimeError("a bug\\nmore")

def stopped(job):
    config = job.config
    os.kill(os.getpid(), signal.SIGTERM)
    while True:
        signal.pause()
"""


@pytest.fixture
def queued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes the folder of a queued run whose task is the named function."""
    (tmp_path / "errands.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.delitem(sys.modules, "errands", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    composer = Composer(cli.conf_dir())

    def make(task: str, label: str = "job") -> Record:
        config = validate(composer.compose([f"task._target_=errands.{task}", f"label={label}", f"study={label}"]))
        record = Record(f"runs/{run_name(config)}")
        record.queue(config.to_dict(), config.train.steps)
        return record

    return make


def start(folder: Path, **env: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "daair.launch.worker", str(folder), "--trust=errands"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | env)


def test_does_the_task_of_the_frozen_config(queued):
    assert worker.main([str(queued("note").folder), "--trust", "errands"]) == 0
    assert worker.main([str(queued("note", "three").folder), "--trust=errands"]) == 3
    assert Path("jobs.txt").read_text().split() == ["job", "three"]


@pytest.mark.parametrize(("task", "message"), [("refuse", "seed: is odd"), ("bug", "RuntimeError: a bug")])
def test_what_ends_before_its_record_begins_is_recorded(queued, capsys, task, message):
    record = queued(task)
    assert worker.main([str(record.folder), "--trust=errands"]) == 1
    assert (record.status().state, record.status().message) == ("failed", message)
    assert ("Traceback" in capsys.readouterr().err) == (task == "bug")


def test_all_but_the_first_rank_keep_quiet(queued, capsys, monkeypatch):
    record = queued("refuse")
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29999")
    assert worker.main([str(record.folder), "--trust=errands"]) == 1
    assert record.status().state == "queued" and capsys.readouterr().err == ""


def test_foreign_folders_are_refused_in_one_line(queued, capsys):
    record = queued("note")
    moved = record.folder.rename(record.folder.with_name("elsewhere"))
    Path("foreign").mkdir()
    Path("odd").mkdir()
    Path("odd/config.yaml").write_text("a: 1\n")
    for folder, text in (
        ("missing", "error: missing is not a run folder: it has no config.yaml"),
        ("foreign", "error: foreign is not a run folder: it has no config.yaml"),
        ("odd", "error: task: missing; "),
        (moved, f"error: {moved} holds the config of the run {record.folder}: it was moved"),
    ):
        assert worker.main([str(folder), "--trust=errands"]) == 1
        error = capsys.readouterr().err
        assert error.startswith(text) and error.count("\n") == 1
    assert not Path("jobs.txt").exists() and not Path("missing").exists()
    assert [path.name for path in Path("foreign").iterdir()] == []


def test_a_signal_is_recorded_and_told_by_the_status(queued):
    record = queued("stopped")
    process = start(record.folder)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 128 + signal.SIGTERM, output
    assert (record.status().state, record.status().message) == ("interrupted", "stopped by SIGTERM")


def test_nothing_is_done_for_a_parent_that_is_dead(queued):
    process = start(queued("note").folder, DAAIR_PARENT="1")
    assert process.wait(120) == 128 + signal.SIGTERM
    assert not Path("jobs.txt").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at a parent's death is Linux's")
def test_it_ends_with_its_parent(queued):
    record = queued("note")
    code = (
        "import os, subprocess, sys; from daair.launch.parents import name_as_parent;"
        "child = [sys.executable, '-c', 'from daair.launch.parents import die_with_parent as d; import time;"
        "d(); print(1, flush=True); time.sleep(60)'];"
        "p = subprocess.Popen(child, env=os.environ | name_as_parent(), stdout=subprocess.PIPE);"
        "p.stdout.readline(); print(p.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=record.folder)
    child = int(done.stdout)
    deadline = time.monotonic() + 10
    while alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)
