"""Weights & Biases: real offline runs, and every way in which the mirror may break without taking the run along."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import wandb
from helpers import SMALL, kill_tree, make_photographs, run_ranks, start, wait_for_step
from PIL import Image
from wandb_stub import WandbStub

from daair.runs.mirror import Mirror, run_id
from daair.runs.record import Record


@pytest.fixture(autouse=True)
def no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    yield
    wandb.teardown()  # else the next test talks to this one's server


def mirror(folder: Path, mode: str, lines: list[str], number: str | None = None) -> Mirror:
    return Mirror(
        folder,
        id=number,
        mode=mode,
        project="test",
        entity=None,
        images=True,
        study="study",
        name="variant-12345678/seed0",
        config={"a": {"b": 1}},
        say=lines.append,
    )


def test_offline_run_needs_no_account_and_says_nothing(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    lines: list[str] = []
    picture = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(picture)
    run = mirror(tmp_path, "offline", lines)
    run.log(1, {"loss": 0.5})
    run.log_images(1, {"sample": picture})
    run.log_routing(1, {"mean": [[0.5, 0.5], [0.5, 0.5]]}, ["noise", "rain"])
    run.summarise({"psnr": 30.0})
    run.finish(0)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert list(folder.glob("*.wandb")) and list(folder.glob("files/media/images/*.png"))
    assert lines == [] and capfd.readouterr() == ("", "")


def test_offline_run_can_be_sent_from_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "study" / "variant-12345678" / "seed0"
    folder.mkdir(parents=True)
    results = folder / "results.csv"
    results.write_text("old\n")
    offline = mirror(folder, "offline", [])
    offline.keep([results], tmp_path / "runs")
    results.unlink()  # files of a run are replaced, never written into
    results.write_text("new\n")
    offline.log(7, {"loss": 0.5})
    offline.keep([results], tmp_path / "runs")
    offline.finish(0)
    (written,) = (folder / "wandb").glob("offline-run-*")
    moved = written.rename(tmp_path / written.name)
    results.unlink()
    with WandbStub() as server:
        command = [sys.executable, "-m", "wandb", "sync", str(moved)]
        done = subprocess.run(command, env=os.environ | server.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        (sent,) = server.runs.values()
    assert (sent.id, sent.name, sent.group) == (run_id("study", sent.name), "variant-12345678/seed0", "study")
    assert sent.files["study/variant-12345678/seed0/results.csv"] == b"new\n"
    assert [row["_step"] for row in sent.rows()] == [7] and sent.state == "finished"


KILLED = """
import os, signal
from pathlib import Path
from daair.runs.mirror import Mirror

run = Mirror(Path({folder!r}), mode="offline", project="test", entity=None, images=True, study="study",
             name="variant-12345678/seed0", id="0123456789", config={{}})
for step in range(1, 100):
    run.log(step, {{"loss": float(step)}})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_numbers_of_a_killed_offline_attempt_are_written_again(tmp_path: Path) -> None:
    folder = tmp_path / "study" / "variant-12345678" / "seed0"
    folder.mkdir(parents=True)
    rows = [{"step": step, "loss": float(step), "text": "left out"} for step in range(1, 150)]
    run = mirror(folder, "offline", [], "0123456789")  # an attempt that ends as it should
    run.catch_up(rows[:50])
    for row in rows[50:80]:
        run.log(row["step"], {"loss": row["loss"]})
    run.finish(0)
    wandb.teardown()
    subprocess.run([sys.executable, "-c", KILLED.format(folder=str(folder))])
    run = mirror(folder, "offline", [], "0123456789")
    run.catch_up(rows[:140])
    for row in rows[140:]:
        run.log(row["step"], {"loss": row["loss"]})
    run.finish(0)
    sound = sorted((folder / "wandb").glob("offline-*"), key=lambda file: file.stat().st_mtime)
    assert len(sound) == 2 and len(list((folder / "wandb").glob("torn-*"))) == 1
    with WandbStub() as server:
        command = [sys.executable, "-m", "wandb", "sync", *map(str, sound)]
        done = subprocess.run(command, env=os.environ | server.environment(), capture_output=True, text=True)
        assert done.returncode == 0 and "incomplete" not in done.stderr, done.stderr
        (sent,) = server.runs.values()
    assert [row["_step"] for row in sent.rows()] == list(range(1, 150))


def test_online_without_a_key_is_one_line_and_goes_on_offline(tmp_path: Path) -> None:
    lines: list[str] = []
    run = mirror(tmp_path, "online", lines)
    run.log(1, {"loss": 0.5})
    run.finish(0)
    assert lines == [
        "Weights & Biases: no API key found (wandb login, or WANDB_API_KEY); so this run is logged offline"
    ]
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_online_without_a_network_is_one_line_and_goes_on_offline(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setattr("daair.runs.mirror.INIT_TIMEOUT", 2)
    lines: list[str] = []
    run = mirror(tmp_path, "online", lines)
    run.finish(0)
    assert len(lines) == 1 and "no answer from http://127.0.0.1:9;" in lines[0] and "logged offline" in lines[0]
    assert list((tmp_path / "wandb").glob("offline-run-*"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("teardown", [threading.Event().wait, sys.exit], ids=["waits for ever", "leaves"])
def test_a_service_that_does_not_let_go_takes_no_run_along(tmp_path: Path, monkeypatch, teardown) -> None:
    monkeypatch.setattr("daair.runs.mirror.TEARDOWN_TIMEOUT", 0.1)
    lines: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(wandb, "teardown", teardown)
        run = mirror(tmp_path, "online", lines)
    assert len(lines) == 1 and "no API key found" in lines[0] and "logged offline" in lines[0]
    run.finish(0)
    assert list((tmp_path / "wandb").glob("offline-run-*"))


def test_refused_key_is_one_line_and_goes_on_offline(tmp_path: Path, monkeypatch) -> None:
    lines: list[str] = []
    with WandbStub() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        for key in ("f" * 40, "too short"):
            monkeypatch.setenv("WANDB_API_KEY", key)
            run = mirror(tmp_path, "online", lines)
            run.log(1, {"loss": 0.5})
            run.finish(0)
            wandb.teardown()
    assert len(lines) == 2 and all("key" in line and "logged offline" in line for line in lines), lines
    assert len(list((tmp_path / "wandb").glob("offline-run-*"))) == 2 and not server.runs


def test_network_that_goes_away_never_holds_up_the_run(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("daair.runs.mirror.FINISH_TIMEOUT", 2)
    lines: list[str] = []
    with WandbStub() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        run = mirror(tmp_path, "online", lines)
        run.log(1, {"loss": 0.5})
    begin = time.monotonic()
    run.log(2, {"loss": 0.5})
    run.log_routing(2, {"mean": [[0.5, 0.5], [0.5, 0.5]]}, ["noise", "rain"])
    assert time.monotonic() - begin < 10, "asked the server while training waits"
    run.finish(0)
    assert len(lines) == 1 and "no answer for 2 s; to send the rest later: wandb sync " in lines[0]


def test_breaking_later_switches_off_with_one_line(tmp_path: Path) -> None:
    class Broken:
        def log(self, *args, **kwargs) -> None:
            raise BrokenPipeError("the service is gone")

    lines: list[str] = []
    run = mirror(tmp_path, "disabled", lines)
    run.run = Broken()
    run.log(1, {})
    run.log(2, {})
    run.finish(1)
    assert lines == ["Weights & Biases: switched off for this run (the service is gone); its folder has everything"]


def test_disabled_does_nothing(tmp_path: Path) -> None:
    run = mirror(tmp_path, "disabled", [])
    run.log(1, {})
    run.finish(0)
    assert list(tmp_path.iterdir()) == []


def test_killed_run_goes_on_online_without_repeating_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed alone, resumed by two processes: one run in W&B, each step once, and all that collation reads."""
    small = [override for override in SMALL if not override.startswith("logger")]
    command = [*small, f"mix.root={make_photographs(tmp_path / 'photographs')}", f"paths.runs={tmp_path / 'runs'}"]
    command += ["logger.mode=online", "study=online", "train.steps=10", "train.checkpoint_every=4"]
    with WandbStub() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        victim = start(command)
        wait_for_step(victim, tmp_path / "runs", 6)
        kill_tree(victim.pid)
        victim.communicate()
        (sent,) = server.runs.values()
        assert sent.state == "running"
        code, output = run_ranks(command)
        assert code == 0 and "Weights & Biases" not in output, output
        assert list(server.runs) == [sent.id]
    (config,) = (tmp_path / "runs").glob("*/*/seed0/config.yaml")
    record = Record(config.parent)
    assert [row["_step"] for row in sent.rows()] == list(range(1, 11))
    assert sent.settings()["train"] == record.config()["train"]
    assert (sent.group, sent.job_type, sent.state, sent.exit_code) == ("online", "train", "finished", 0)
    for file in record.collated:
        assert sent.files[str(file.relative_to(tmp_path / "runs"))] == file.read_bytes(), file
    assert {file.name for file in record.collated} >= {"config.yaml", "status.json", "environment.json"}
