"""What a sweep tells of the time: plans in hours, and the time left with the evaluations."""

import io
import json
import os
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from daair import cli
from daair.config.jobs import Composer, Job
from daair.config.validate import validate
from daair.launch.causes import Ending
from daair.launch.plan import Selection, duration
from daair.launch.pool import Pool
from daair.launch.view import View
from daair.runs.record import Record


@pytest.fixture(scope="module")
def make_jobs():
    composer = Composer(cli.conf_dir())

    def make(runs: Path, *overrides: str, steps=(100, 100, 200)) -> list[Job]:
        fixed = ["model=daair_tiny", "study=s", f"paths.runs={runs}", *overrides]
        return [
            Job.of(validate(composer.compose([*fixed, f"seed={seed}", f"train.steps={count}"])))
            for seed, count in enumerate(steps)
        ]

    return make


def view_of(jobs: list[Job], pool: Pool) -> tuple[View, io.StringIO]:
    text = io.StringIO()
    return View(pool, jobs, Console(file=text, width=200, highlight=False)), text


def trained(job: Job, state: str, step: int, device: str, **summary: float) -> None:
    """Write the record of a run that has trained some updates."""
    record = Record(job.folder)
    record.queue(job.config.to_dict(), job.config.train.steps)
    record.update(state=state, step=step, device=device)
    record.summarise(**summary)


GPU = Pool("gpu", ("0", "1"), assumed=True)


def test_a_plan_is_in_parts_until_a_run_was_measured_on_such_a_device(make_jobs, tmp_path):
    jobs = make_jobs(tmp_path)
    trained(jobs[0], "done", 100, "2 x cpu", seconds=3600.0)
    view, text = view_of(jobs, GPU)
    view.dry_run(Selection(tuple(jobs[1:]), ()))
    output = text.getvalue()
    assert "2 runs on 2 assumed GPUs (0, 1)" in output and "50 %" in output and "100 %" in output
    assert "times are parts of the whole, and hours once a run has been measured on a GPU" in output
    assert "launch.dry_run: nothing was started" in output


def test_a_plan_is_in_hours_by_a_measured_run_with_its_evaluation(make_jobs, tmp_path):
    jobs = make_jobs(tmp_path)
    trained(jobs[0], "done", 100, "NVIDIA H100", seconds=3600.0, evaluation_seconds=1800.0)
    view, text = view_of(jobs, GPU)
    view.dry_run(Selection(tuple(jobs[1:]), ()))
    output = text.getvalue()
    assert "1 h 30 min" in output and "2 h 30 min" in output, output
    assert "about 2 h 30 min in all, by 1 measured run on NVIDIA H100\n" in output


def test_a_plan_counts_what_is_left_of_a_run_and_says_that_evaluations_are_unknown(make_jobs, tmp_path):
    jobs = make_jobs(tmp_path)
    trained(jobs[2], "interrupted", 150, "NVIDIA H100", seconds=1800.0)
    view, text = view_of(jobs, GPU)
    view.dry_run(Selection((jobs[2],), ()))
    assert "about 10 min in all, by 1 measured run on NVIDIA H100 without evaluation" in text.getvalue()


@pytest.mark.parametrize(("rerun", "seconds"), [("all", 60.0), ("failed", 0.0)])
def test_a_plan_of_finished_runs_trains_them_only_if_they_begin_anew(make_jobs, tmp_path, rerun, seconds):
    (job,) = make_jobs(tmp_path, f"launch.rerun={rerun}", steps=(100,))
    trained(job, "done", 100, "cpu", seconds=60.0)
    view, _ = view_of([job], Pool("cpu", ("0",)))
    assert view.pace.seconds(job) == pytest.approx(seconds)


def test_the_speed_of_the_same_config_counts_first(make_jobs, tmp_path):
    one, other = make_jobs(tmp_path, steps=(100, 100)), make_jobs(tmp_path, "experts.rank=2", steps=(100,))
    trained(one[0], "done", 100, "cpu", seconds=100.0)
    trained(other[0], "done", 100, "cpu", seconds=300.0)
    view, _ = view_of([*one, *other], Pool("cpu", ("0",)))
    assert view.pace.seconds(one[1]) == pytest.approx(100.0)
    stranger = replace(one[1], id="00000000")
    assert view.pace.seconds(stranger) == pytest.approx(200.0)


def test_time_left_has_the_evaluations_once_there_was_one(make_jobs, tmp_path):
    pool = Pool("cpu", ("0",))
    done, running, waiting = make_jobs(tmp_path, steps=(100, 100, 100))
    view, text = view_of([done, running, waiting], pool)
    record, now = Record(running.folder), datetime.now(UTC)
    record.queue(running.config.to_dict(), 100)
    begun = (now - timedelta(seconds=55)).isoformat()
    record.update(state="running", pid=os.getpid(), host=socket.gethostname(), started=begun, device="cpu")
    rows = [{"step": step, "time": (now - timedelta(seconds=50 - step)).isoformat()} for step in (0, 50)]
    record.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def line() -> str:
        text.truncate(0)
        view._line_at = view._look_at = 0.0
        view.update([running], [waiting], view_endings)
        return text.getvalue()

    view_endings: dict[str, Ending] = {}
    assert "running 1, queued 1, done 0, failed 0, about 2 min left without evaluation" in line()
    trained(done, "done", 100, "cpu", seconds=100.0, evaluation_seconds=600.0)
    view_endings[done.name] = Ending("done")
    view.ended(done, view_endings[done.name], 700.0)
    assert "done 1, failed 0, about 22 min left\n" in line()

    record.update(measured=10, images=40)
    view_endings["x"] = Ending("interrupted", "killed by SIGKILL", killed=True)
    shown = line()
    assert "evaluating, 10/40 images" in shown and "done 1, failed 0, stopped 1, about" in shown
    assert duration(running) > 0


@pytest.mark.parametrize(
    ("rerun", "text"),
    [
        ("failed", "; the same command goes on with the others"),
        ("all", "; the same command, with launch.rerun=failed, goes on with the others"),
    ],
)
def test_the_end_of_a_stopped_sweep_says_how_to_go_on(make_jobs, tmp_path, rerun, text):
    """With launch.rerun=all the same command would train once more what is done."""
    jobs = make_jobs(tmp_path, f"launch.rerun={rerun}")
    view, shown = view_of(jobs, GPU)
    with view.live(2):
        pass
    view.summary({jobs[0].name: Ending("done"), jobs[1].name: Ending("interrupted")}, stopped=True)
    assert text in shown.getvalue()


def test_the_time_left_is_that_of_the_longest_run_at_least(make_jobs, tmp_path):
    """However many devices there are, the last run begins when one is free."""
    done, waiting = make_jobs(tmp_path, steps=(100, 100))
    trained(done, "done", 100, "cpu", seconds=3600.0)
    view, _ = view_of([done, waiting], Pool("cpu", tuple("01234567")))
    view.ended(done, Ending("done"), 3600.0)
    assert view._left([], [waiting]) == pytest.approx(3600.0)
