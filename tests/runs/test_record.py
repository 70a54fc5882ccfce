"""A run's folder: atomic files, states, the lock, metrics that survive a torn line."""

import errno
import json
import multiprocessing
import os
from pathlib import Path

import pytest
from filelock import FileLock

from daair.errors import UserError
from daair.files import replacing, replacing_folder
from daair.runs.record import Record, Status


def test_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(RuntimeError), replacing(file) as temporary:
        temporary.write_text("half")
        raise RuntimeError("disk full")
    assert file.read_text() == "old" and list(tmp_path.iterdir()) == [file]


def test_failed_folder_does_not_appear(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "step-1") as temporary:
        (temporary / "weights").write_text("half")
        raise RuntimeError("disk full")
    assert list(tmp_path.iterdir()) == []


def test_status_of_nothing_torn_and_newer(tmp_path: Path) -> None:
    record = Record(tmp_path)
    assert record.status() == Status()
    record.status_file.write_text('{"state": "do')
    assert record.status() == Status()
    record.status_file.write_text(json.dumps({"state": "done", "attempt": 3, "schema": 1, "colour": "red"}))
    assert (record.status().state, record.status().attempt) == ("done", 3)
    record.status_file.write_text(json.dumps({"state": "done", "schema": 99}))
    with pytest.raises(UserError, match=r"status.json: written by a newer version of DaAIR Lab \(schema 99, "):
        record.start({}, {}, "", 1)


def test_times_of_a_run(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.queue({"a": 1}, steps=10)
    queued = record.status()
    assert (queued.state, queued.attempt, queued.steps) == ("queued", 0, 10) and queued.queued and not queued.started
    record.start({"a": 1}, {"git": {"commit": "abc", "dirty": True}}, changes="", steps=10, device="cpu")
    record.update(state="done", step=10)
    done = record.status()
    assert (done.commit, done.device, done.attempt) == ("abc+", "cpu", 1)
    assert done.queued == queued.queued and done.started <= done.finished <= done.updated
    record.queue({"a": 1}, steps=10)
    record.start({"a": 1}, {}, changes="", steps=10)
    assert (record.status().attempt, record.status().finished, record.status().step) == (2, "", 10)


def test_start_counts_attempts_and_freezes_the_config(tmp_path: Path) -> None:
    record = Record(tmp_path)
    for attempt in (1, 2):
        record.start({"b": 1, "a": {"x": [1, 2]}}, {"host": "here"}, changes="", steps=10)
        assert record.status().attempt == attempt
    assert record.config() == {"b": 1, "a": {"x": [1, 2]}} and list(record.config()) == ["b", "a"]


def test_queue_freezes_the_config_and_keeps_what_there_is(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.queue({"a": 1}, steps=10)
    assert record.config() == {"a": 1} and (record.status().state, record.status().steps) == ("queued", 10)
    record.start({"a": 1}, {}, changes="", steps=10)
    record.update(state="failed", step=4, message="why")
    record.queue({"a": 2}, steps=20)
    status = record.status()
    assert record.config() == {"a": 2}
    assert (status.state, status.attempt, status.step, status.steps, status.message) == ("queued", 1, 4, 20, "")


def test_queueing_again_keeps_the_number_of_updates_and_forgets_slurm(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.hand_over("77_0")
    record.update(state="interrupted", step=500, steps=900)
    record.queue({"seed": 0}, 0)
    assert (record.status().step, record.status().steps, record.job()) == (500, 900, None)


def test_a_note_does_not_undo_that_a_run_is_done(tmp_path: Path) -> None:
    record = Record(tmp_path)
    record.update(state="running")
    record.note("failed", "its process was killed")
    assert record.status().state == "failed"
    record.update(state="done")
    record.note("failed", "another process works on it")
    assert record.status().state == "done"


def test_a_disk_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(lock: FileLock) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(UserError, match=f"{tmp_path}: cannot be locked: .*No locks available"), Record(tmp_path).lock():
        pass


def test_config_of_a_wrong_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a run folder: it has no config.yaml"):
        Record(tmp_path).config()


def test_metrics_skip_a_torn_line_and_rewind(tmp_path: Path) -> None:
    record = Record(tmp_path)
    for step in (1, 2, 3):
        record.log(step, {"loss": 1 / step, "bad": float("nan")})
    with open(record.metrics_file, "a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in record.metrics()] == [1, 2, 3]
    assert record.metrics()[0]["bad"] is None
    record.rewind(2)
    assert [row["step"] for row in record.metrics()] == [1, 2]
    record.log(3, {"loss": 0.0})
    assert [row["step"] for row in record.metrics()] == [1, 2, 3]


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "\x00\x01"])
def test_results_of_another_make_are_named(tmp_path: Path, text: str) -> None:
    record = Record(tmp_path)
    assert record.results() is None
    record.results_file.write_text(text)
    with pytest.raises(UserError, match="results.csv: .*; remove it to measure again"):
        record.results()


def test_all_but_the_writer_leave_no_trace(tmp_path: Path) -> None:
    record = Record(tmp_path / "run", writer=False)
    with record.lock():
        record.start({}, {}, "", 1)
        record.log(1, {})
        record.update(state="done")
        record.rewind(0)
    assert not (tmp_path / "run").exists()


def _hold(folder: str, ready, release) -> None:
    record = Record(folder)
    with record.lock():
        record.start({}, {}, "", 1)
        ready.set()
        release.wait(30)


def test_a_lock_under_which_nothing_was_written_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Record(tmp_path / "study" / "run" / "seed0").lock():
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    with Record(tmp_path / "study" / "run" / "seed0").lock():
        (tmp_path / "study" / "run" / "seed0" / "status.json").touch()
    assert (tmp_path / "study" / "run" / "seed0" / "status.json").exists()


def test_lock_names_the_holder_and_ends_with_it(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready, release))
    holder.start()
    assert ready.wait(30)
    with pytest.raises(UserError, match=f"is being written by process {holder.pid} on"), Record(tmp_path).lock():
        pass
    holder.kill()  # not even a chance to clean up
    holder.join()
    with Record(tmp_path).lock():
        pass


def test_measuring_a_finished_run_keeps_the_options_of_its_training(tmp_path: Path) -> None:
    record = Record(tmp_path / "run", writer=True)
    record.freeze({"train": {"threads": 1}, "benchmarks": None}, ["train.threads=1"])
    record.freeze_measuring({"train": {"threads": 2}, "benchmarks": ["a"]}, ["benchmarks=[a]"])
    assert record.config() == {"train": {"threads": 1}, "benchmarks": ["a"]}
    record.config_file.write_text("{torn")
    record.freeze_measuring({"train": {"threads": 2}, "benchmarks": ["a"]}, ["benchmarks=[a]"])
    assert record.config()["train"] == {"threads": 2}, "of a damaged config nothing can be kept"
