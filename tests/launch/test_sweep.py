"""Sweeps with real processes: killed, stopped, failing in every way, and typed again."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from helpers import RUN, SMALL, alive, environment, make_photographs, run, run_ranks, trail
from warm import Warm

from daair.cli import conf_dir
from daair.config.jobs import Command, Composer, Job
from daair.config.validate import validate
from daair.errors import UserError
from daair.launch import sweep as module
from daair.launch.plan import Selection, select
from daair.launch.pool import Pool
from daair.launch.sweep import Scheduler, _seen_to, queue
from daair.launch.view import View
from daair.launch.warm import TOKEN, UNNAMED
from daair.runs.record import Record, Status

# Four runs of different sizes, one of them on two processes.
FOUR = """
# @package _global_
defaults:
  - override /hydra/launcher: accelerate
study: four
launch: {slots: 2, grace: 60}
train: {steps: 24, checkpoint_every: 3, validate_every: 12}
hydra:
  mode: MULTIRUN
  sweeper:
    variants:
      a: {experts.rank: 1}
      b: {experts.rank: 2}
      c: {experts.rank: 3}
      pair: {experts.rank: 8, launch.num_processes: 2}
"""

# What goes wrong and how, by the run's label; once the file `mended` is there, nothing does.
TROUBLE = """
import os, resource, signal
from pathlib import Path
from daair.config.identity import run_name
from daair.runs.record import Record

def work(job):
    config = job.config
    with open("begun.txt", "a") as file:
        print(config.label, file=file)
    if Path("mended").exists():
        record = Record(f"{config.paths.runs}/{run_name(config)}")
        with record.lock():
            record.update(state="done")
        return 0
    if config.label == "bug":
        raise RuntimeError("a bug in the data")
    if config.label == "memory":
        bytearray(1 << 62)
    if config.label == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if config.label == "disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # no file grows beyond: as good as a full disk
    if config.label == "slow":
        while True:
            signal.pause()
    from daair.engine.train import train
    return train(job)
"""
TROUBLES = """
# @package _global_
defaults:
  - override /hydra/launcher: accelerate
study: trouble
task: {_target_: trouble.work}
launch: {slots: 2, retries: 1}
train: {steps: 2}
hydra:
  mode: MULTIRUN
  sweeper:
    variants:
      bug: {experts.rank: 1}
      memory: {experts.rank: 2}
      killed: {experts.rank: 3}
      nan: {experts.rank: 4, optimizer.lr: 1e30, schedule.warmup: 0, train.steps: 50}
      slow: {experts.rank: 5, launch.timeout: 15}
      disk: {experts.rank: 6}
      fine: {experts.rank: 7}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A directory with photographs and studies to sweep over."""
    make_photographs(tmp_path / "photographs")
    studies = tmp_path / "conf" / "sweeps"
    studies.mkdir(parents=True)
    (studies / "four.yaml").write_text(FOUR)
    (studies / "trouble.yaml").write_text(TROUBLES)
    (tmp_path / "trouble.py").write_text(TROUBLE)
    return tmp_path


def command(lab: Path, study: str, *more: str) -> list[str]:
    """A sweep over a study of the lab; as `experiment` it would end in tables and figures, which take their time."""
    given = [o for o in SMALL if not o.startswith(("experts.", "benchmarks"))]
    mine = f"benchmarks.mine.target={lab}/photographs/val/clean"
    return [
        *("--config-dir", str(lab / "conf"), f"+sweeps={study}", *given, f"mix.root={lab}/photographs"),
        *(mine, "benchmarks.mine.degrade=sigma25", *more),
    ]


class Sweep:
    """A sweep in a process of its own, with what it printed and all that it has started."""

    def __init__(self, lab: Path, *overrides: str) -> None:
        self.output = lab / "output.txt"
        self.output.unlink(missing_ok=True)
        self.process = Warm([RUN, *overrides], lab, environment(), self.output)

    def wait(self) -> str:
        self.process.wait(280)
        return self.output.read_text()

    def until(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 280
        while not happened():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.02)

    def descendants(self) -> list[int]:
        return [process.pid for process in psutil.Process(self.process.pid).children(recursive=True)]


@pytest.fixture
def start(lab: Path) -> Iterator[Callable[..., Sweep]]:
    """Start sweeps; what a failed test leaves of them is killed."""
    sweeps = []

    def begin(*overrides: str) -> Sweep:
        sweeps.append(Sweep(lab, *overrides))
        return sweeps[-1]

    yield begin
    for sweep in sweeps:
        if sweep.process.poll() is None:
            for pid in [*sweep.descendants(), sweep.process.pid]:
                os.kill(pid, signal.SIGKILL)


def records(runs: Path) -> dict[str, Record]:
    """All runs below a folder, by the names of their variants."""
    return {file.parts[-3]: Record(file.parent) for file in sorted(runs.glob("*/*/seed*/status.json"))}


def in_the_middle(record: Record) -> bool:
    """Whether a run trains, past a checkpoint and with much to do yet, so that it cannot end before it is killed."""
    status = record.status()
    return status.state == "running" and 0 < status.step <= status.steps // 2


def gone(pids: list[int], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_queueing_leaves_out_what_others_work_on_or_have_done(tmp_path, monkeypatch):
    composed = [Composer(conf_dir()).compose([f"seed={seed}", f"paths.runs={tmp_path}"]) for seed in range(4)]
    monkeypatch.setattr(module, "lacks", lambda job: False)  # what is done was measured on all
    jobs = [Job.of(validate(config), ["seed=7"]) for config in composed]
    plan = select(jobs, Pool("cpu", ("0",), 1), "failed", lambda job: Status())
    free, busy, done, full = (Record(job.folder) for job in sorted(plan.jobs, key=lambda job: job.name))
    done.update(state="done")  # after the plan was made
    with busy.lock():
        busy.update(state="running")
        queued = queue(Selection(tuple(job for job in plan.jobs if job.folder != full.folder), plan.skipped))
    assert [job.folder for job in queued.jobs] == [free.folder] and free.status().state == "queued"
    assert free.overrides() == ["seed=7"]
    assert [reason for _, reason in queued.skipped] == [
        f"{busy.folder} is being written by another process",
        "done already",
    ]
    assert done.status().state == "done", "nothing was written into it"
    monkeypatch.setattr(Record, "queue", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match=r"seed3: cannot be written \(No space left on device\)"):
        queue(Selection(tuple(job for job in plan.jobs if job.folder == full.folder), ()))


def test_a_queued_run_that_another_process_has_taken_does_not_start(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "lacks", lambda job: False)  # what the other has done it has measured, too
    (job,) = Command.parse([f"paths.runs={tmp_path}"]).jobs
    record, view = Record(job.folder), View(Pool("cpu", ("0",), 1), [job])
    for state, why in (("running", "is being written by another process"), ("done", "done already")):
        queue(Selection((job,), ()))
        with record.lock() if state == "running" else contextlib.nullcontext():
            record.update(state=state)
            scheduler = Scheduler([job], Pool("cpu", ("0",), 1), view)
            scheduler.run()
        assert not scheduler.endings and not record.log_file.exists()
        assert why in capsys.readouterr().out


@pytest.mark.timeout(300)
def test_a_run_that_another_process_takes_at_the_same_moment_has_not_failed(tmp_path, monkeypatch, capsys):
    """Both find it free and start a process, and only one of these gets the lock."""
    (job,) = Command.parse([f"paths.runs={tmp_path}", "device=cpu"]).jobs
    record, pool = Record(job.folder), Pool("cpu", ("0",), 1)
    queue(Selection((job,), ()))
    answers = iter([None])  # the first look is just before the other process takes it
    monkeypatch.setattr(module, "_seen_to", lambda job: next(answers, _seen_to(job)))
    with record.lock():
        record.update(state="running")
        scheduler = Scheduler([job], pool, View(pool, [job]))
        scheduler.run()
    assert not scheduler.endings and record.status().state == "running"
    assert "is being written by another process" in record.log_file.read_text(), "it was started"
    assert "skipped 1 (" in capsys.readouterr().out


@pytest.mark.timeout(900)
def test_killed_sweep_ends_as_if_nothing_had_been(lab, start):
    """SIGKILL of the parent in the middle, twice: nobody is left, and the same command does what is missing, only."""
    # Undisturbed: the single processes one after the other in one, then the run of two.
    basic = ["hydra/launcher=basic", f"paths.runs={lab}/whole"]
    code, output = run(command(lab, "four", *basic, "hydra.sweeper.only=[a,b,c]"))
    assert code == 0, output
    code, output = run_ranks(command(lab, "four", *basic, "hydra.mode=RUN", "label=pair", "experts.rank=8"))
    assert code == 0, output
    whole = records(lab / "whole")
    assert [name[0] for name in whole] == ["a", "b", "c", "p"]

    finished: set[str] = set()
    for wanted in ("", "pair"):  # the first in the middle of any run, the second in that of the two processes
        sweep = start(*command(lab, "four"))
        sweep.until(
            lambda wanted=wanted: (
                any(name.startswith(wanted) and in_the_middle(record) for name, record in records(lab / "runs").items())
                and any(record.status().state == "done" for record in records(lab / "runs").values())
            )
        )
        processes = sweep.descendants()
        assert len(processes) >= (3 if wanted else 1), "the front end and two ranks"
        sweep.process.kill()
        assert gone(processes)
        killed = records(lab / "runs")
        assert len(killed) == 4, "all were queued before the first was started"
        states = {name: record.status().state for name, record in killed.items()}
        assert "running" not in states.values() and "interrupted" in states.values(), states
        finished |= {name for name, state in states.items() if state == "done"}

    sweep = start(*command(lab, "four"))
    output = sweep.wait()
    assert sweep.process.returncode == 0, output
    assert f"skipped {len(finished)} (done already)" in output
    ended = records(lab / "runs")
    assert ended.keys() == whole.keys()
    for name, record in ended.items():
        assert record.status().state == "done"
        assert record.weights_file.read_bytes() == whole[name].weights_file.read_bytes(), name
        assert record.results_file.read_bytes() == whole[name].results_file.read_bytes(), name
        assert trail(record) == trail(whole[name]), f"{name}: updates were lost, or made twice"
    attempts = {name: record.status().attempt for name, record in ended.items()}
    assert sum(attempts.values()) <= 4 + 3, "none but those in the middle (two of the first time) began again"


@pytest.mark.timeout(600)
def test_ctrl_c_stops_all_and_the_same_command_goes_on(lab, start):
    endless = ["hydra.sweeper.only=[a,pair,b]", "train.steps=100000", "train.checkpoint_every=100000", "launch.slots=3"]
    sweep = start(*command(lab, "four", *endless))
    sweep.until(lambda: sum(len(record.metrics()) > 2 for record in records(lab / "runs").values()) == 2)
    processes = sweep.descendants()
    runs = [pid for pid in processes if psutil.Process(pid).environ().get(TOKEN, UNNAMED) != UNNAMED]
    os.kill(sweep.process.pid, signal.SIGINT)
    output = sweep.wait()
    assert sweep.process.returncode == 128 + signal.SIGINT, output
    assert gone(runs, seconds=2) and len(runs) >= 4, "two runs, a front end with two ranks"
    assert gone(processes), "the server"
    runs = records(lab / "runs")
    states = sorted(record.status().state for record in runs.values())
    assert states == ["interrupted", "interrupted", "queued"], output
    for record in runs.values():
        if record.status().state == "interrupted":
            (checkpoint,) = record.checkpoints.iterdir()
            assert record.status().step == int(checkpoint.name.removeprefix("step-")) > 0


@pytest.mark.timeout(600)
def test_a_reader_that_goes_away_takes_no_run_along(lab):
    """`| head -1`, or `| tee` after Ctrl-C: nobody reads what is printed, and all is done none the less."""
    (lab / "mended").touch()
    arguments = [sys.executable, RUN, *command(lab, "trouble", "hydra.sweeper.only=[bug,fine,killed]")]
    with subprocess.Popen(arguments, cwd=lab, stdout=subprocess.PIPE, env=environment(), text=True) as sweep:
        assert sweep.stdout.readline().startswith("3 runs on 2 CPU slots")
        sweep.stdout.close()
    assert sweep.returncode == 0
    assert [record.status().state for record in records(lab / "runs").values()] == ["done"] * 3


@pytest.mark.timeout(900)
def test_trouble_stops_nobody_else_and_is_told(lab, start):
    arguments = command(lab, "trouble")
    sweep = start(*arguments)
    output = sweep.wait()
    assert sweep.process.returncode == 1, output
    table = output[output.index("6 of 7 runs are not done") :]
    for cause in (
        "RuntimeError: a bug in the data",
        "MemoryError",
        "killed by SIGKILL",
        "training diverged at step",
        "took longer than launch.timeout, 15 s",
        "File too large",
        'raise RuntimeError("a bug in the data")',  # the end of a log
    ):
        assert cause in table, output
    assert "1 done, 5 failed, 1 interrupted" in table
    begun = (lab / "begun.txt").read_text().split()
    assert sorted(begun) == ["bug", "disk", "fine", "killed", "memory", "memory", "nan", "slow"], "memory is retried"
    states = {name.rpartition("-")[0]: record.status().state for name, record in records(lab / "runs").items()}
    failed = dict.fromkeys(("bug", "disk", "memory", "nan", "slow"), "failed")
    assert states == failed | {"killed": "interrupted", "fine": "done"}
    page = (lab / "runs" / "index.html").read_text()
    assert "1 done" in page and "5 failed" in page and "1 interrupted" in page

    (lab / "begun.txt").unlink()
    left_alone = start(*arguments, "launch.rerun=none", "hydra.sweeper.only=[bug,memory,nan,slow,disk,fine]")
    assert "failed before, and launch.rerun=none" in left_alone.wait() and left_alone.process.returncode == 0
    (lab / "mended").touch()
    again = start(*arguments)
    output = again.wait()
    assert again.process.returncode == 0 and "skipped 1 (done already): trouble/fine-" in output, output
    assert sorted((lab / "begun.txt").read_text().split()) == ["bug", "disk", "killed", "memory", "nan", "slow"]
