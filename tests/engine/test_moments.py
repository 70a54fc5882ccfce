"""A signal at each named moment of a run: nothing of it is left, and the same command ends as if undisturbed.

One run is stopped at one moment after the other, by the same command again and again. `pytest -m kills` does it with
each signal, with and without loader workers, on one rank and on two (many minutes); by default one chain is done.
"""

import os
import signal
import time
from itertools import cycle
from pathlib import Path

import psutil
import pytest
from helpers import SMALL, make_photographs, start, trail
from warm import Warm

from daair.launch.processes import TOKEN
from daair.runs.record import Record

# Sends the first rank a signal where the environment says.
HOOKS = """
import itertools, os
from daair import exits
from daair.engine import checkpoints, evaluate, loader, train
from daair.runs.mirror import Mirror

PLACES = {
    "starting": (train, "prepared_mix", 1),
    "first batch": (loader.Batches, "__next__", 1),
    "between updates": (train.Trainer, "after_update", 2),
    "in validation": (train, "validate", 1),
    "in checkpointing": (checkpoints, "save_file", 1),
    "in evaluation": (evaluate, "measure", 1),
    "while W&B finishes": (Mirror, "finish", 1),
    "at exit": (os, "_exit", 1) if "RANK" in os.environ else (exits, "end_within", 1),
}

def work(job):
    moment = os.environ.get("MOMENT")
    if moment and os.environ.get("RANK", "0") == "0":
        owner, name, wanted = PLACES[moment]
        original, calls = getattr(owner, name), itertools.count(1)

        def hooked(*args, **keys):
            if next(calls) == wanted:
                os.kill(os.getpid(), int(os.environ["SIGNAL"]))
            return original(*args, **keys)

        setattr(owner, name, hooked)
    return train.train(job)
"""
MOMENTS = (
    "starting",
    "first batch",
    "between updates",
    "in validation",
    "in checkpointing",
    "in evaluation",
    "while W&B finishes",
    "at exit",
)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE = 120.0  # seconds for a process to end on a busy machine


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_photographs(tmp_path_factory.mktemp("moments"))
    (folder / "moments.py").write_text(HOOKS)
    return folder


def command(lab: Path, runs: Path, workers: int) -> list[str]:
    given = [o for o in SMALL if not o.startswith(("benchmarks", "train.workers"))]
    mine = [f"benchmarks.mine.target={lab}/val/clean", "benchmarks.mine.degrade=sigma25", "task._target_=moments.work"]
    steps = ["train.steps=13", "train.checkpoint_every=2", "train.validate_every=3", f"train.workers={workers}"]
    return [*given, *mine, *steps, f"mix.root={lab}", f"paths.runs={runs}"]


def left_of(process: Warm, token: str) -> list[psutil.Process]:
    """All that belongs to a command: its session, and what carries its token."""
    found = []
    for other in psutil.process_iter():
        try:
            ours = os.getsid(other.pid) == process.pid or other.environ().get(TOKEN) == token
            if ours and other.status() != psutil.STATUS_ZOMBIE:
                found.append(other)
        except (psutil.Error, OSError):
            continue
    return found


def end(process: Warm, token: str) -> str:
    """Wait for the end of a command and of all that it started; return what it printed."""
    output = process.communicate(PATIENCE)[0]
    deadline = time.monotonic() + PATIENCE / 4
    while left := left_of(process, token):
        assert time.monotonic() < deadline, (left, output)
        time.sleep(0.05)
    return output


def undisturbed(lab: Path, ranks: int, monkeypatch: pytest.MonkeyPatch) -> Record:
    """The run as it ends when nothing happens, done once for each number of ranks."""
    runs = lab / f"whole{ranks}"
    if not runs.exists():
        monkeypatch.delenv("MOMENT", raising=False)
        process = start(command(lab, runs, 0), ranks, lab)
        output = end(process, "none")
        assert process.returncode == 0, output
    return only_run(runs)


def only_run(runs: Path) -> Record:
    (status,) = runs.glob("*/*/seed*/status.json")
    return Record(status.parent)


def check(lab: Path, runs: Path, chain: list[tuple[str, int]], workers: int, ranks: int, monkeypatch) -> None:
    """Stop a run at each moment of a chain, then let it end."""
    whole = undisturbed(lab, ranks, monkeypatch)
    given = command(lab, runs, workers)
    for moment, number in chain:
        token = f"{os.getpid()}-{moment}-{ranks}"
        for name, value in {"MOMENT": moment, "SIGNAL": str(int(number)), TOKEN: token}.items():
            monkeypatch.setenv(name, value)
        mirror = ["logger.mode=offline"] if moment == "while W&B finishes" else []
        process = start([*given, *mirror], ranks, lab)
        output = end(process, token)
        assert process.returncode != 0, (moment, output)
        done = [record.status().state == "done" for record in map(Record, runs.glob("*/*/seed*"))]
        assert any(done) == (moment in MOMENTS[-2:]), (moment, output)
    monkeypatch.delenv("MOMENT")
    process = start(given, ranks, lab)
    output = end(process, token)
    assert process.returncode == 0, output
    record = only_run(runs)
    assert record.status().state == "done", output
    assert record.weights_file.read_bytes() == whole.weights_file.read_bytes()
    assert record.results_file.read_bytes() == whole.results_file.read_bytes()
    assert trail(record) == trail(whole), "metrics were lost or doubled"


@pytest.mark.timeout(900)
def test_a_run_stopped_at_every_moment_ends_as_if_undisturbed(lab, tmp_path, monkeypatch):
    check(lab, tmp_path, list(zip(MOMENTS, cycle(SIGNALS))), 2, 1, monkeypatch)


@pytest.mark.kills
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", SIGNALS)
def test_each_signal_at_every_moment(lab, tmp_path, monkeypatch, number, workers, ranks):
    check(lab, tmp_path, [(moment, number) for moment in MOMENTS], workers, ranks, monkeypatch)
