"""TensorBoard: what is in its event files, also after a kill, and what happens without the package."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers import SMALL, environment, kill_tree, make_photographs, run, start, wait_for_step
from PIL import Image

from daair.config.buildable import check_buildable
from daair.config.jobs import Composer
from daair.config.validate import validate
from daair.errors import UserError
from daair.runs.record import Record
from daair.runs.tensorboard import TensorBoard

pytest.importorskip("tensorboard", reason="tensorboard is not installed (extra `tensorboard`)")


def board(folder: Path, lines: list[str], resumed: int = 0) -> TensorBoard:
    return TensorBoard(folder, resumed=resumed, images=True, config="a: 1\n", say=lines.append)


def events(folder: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0})
    found.Reload()
    return found


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    return [(event.step, round(event.value, 4)) for event in events(folder).Scalars(name)]


def test_numbers_pictures_and_routing_are_written(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    lines: list[str] = []
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    mirror = board(tmp_path, lines)
    mirror.log(3, {"loss": 0.5})
    mirror.log_images(3, {"sample": tmp_path / "a.png"})
    mirror.log_routing(3, {"mean": [[0.25, 0.75]]}, ["noise", "rain"])
    mirror.summarise({"test/psnr": 30.0})
    mirror.finish(0)
    mirror.log(4, {"loss": 0.1})  # nobody listens any more
    assert scalars(tmp_path, "loss") == [(3, 0.5)] and scalars(tmp_path, "test/psnr") == [(3, 30.0)]
    tags = events(tmp_path).Tags()
    assert tags["images"] == ["sample"]
    assert set(tags["tensors"]) == {"config/text_summary", "routing/utilisation/text_summary"}
    assert lines == [] and capfd.readouterr() == ("", "")


def test_a_run_that_goes_on_replaces_what_was_logged_after_its_checkpoint(tmp_path: Path) -> None:
    first = board(tmp_path, [])
    for step in (1, 2, 3):
        first.log(step, {"loss": float(step)})  # on disk at once: the process may be killed now
    second = board(tmp_path, [], resumed=2)
    second.catch_up([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 2.0}])
    second.log(3, {"loss": 30.0})
    second.finish(0)
    assert scalars(tmp_path, "loss") == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_a_run_that_began_without_it_is_caught_up_with(tmp_path: Path) -> None:
    mirror = board(tmp_path, [], resumed=2)
    mirror.catch_up([{"step": 1, "time": "now", "loss": 1.0}, {"step": 2, "loss": 2.0, "routing/utilisation": [[1]]}])
    mirror.finish(0)
    assert scalars(tmp_path, "loss") == [(1, 1.0), (2, 2.0)]


def test_a_broken_mirror_is_one_line(tmp_path: Path) -> None:
    lines: list[str] = []
    (tmp_path / "tensorboard").write_text("in the way")
    mirror = board(tmp_path, lines)
    mirror.log(1, {"loss": 0.5})
    mirror.finish(0)
    (line,) = lines
    assert line.startswith("TensorBoard: switched off for this run (") and line.endswith("; its folder has everything")


def test_without_the_package_a_training_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daair.config.buildable.find_spec", lambda name: None)
    for choice in ("tensorboard", "[wandb,tensorboard]"):
        config = validate(Composer().compose(["model=daair_tiny", f"logger={choice}"]))
        with pytest.raises(UserError, match=r"^logger.tensorboard: needs the package tensorboard: python -m pip in"):
            check_buildable(config)


def test_loggers_combine() -> None:
    def logger(*overrides: str):
        return validate(Composer().compose(["model=daair_tiny", *overrides])).logger

    alone, both = logger("logger=tensorboard"), logger("logger=[wandb,tensorboard]", "logger.mode=online")
    assert (alone.tensorboard, alone.mode, alone.images) == (True, "disabled", True)
    assert (both.tensorboard, both.mode, both.project) == (True, "online", "daair")
    assert not logger().tensorboard
    with pytest.raises(UserError, match="tensorbord"):
        logger("logger=[wandb,tensorbord]")


def test_nothing_of_it_is_imported_without_it(tmp_path: Path) -> None:
    code = "import sys, daair.engine.train; sys.exit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=environment(), cwd=tmp_path, check=False).returncode == 0


def test_killed_run_goes_on_in_tensorboard(tmp_path: Path) -> None:
    small = [override for override in SMALL if not override.startswith(("logger", "benchmarks"))]
    photographs = make_photographs(tmp_path / "photographs")
    mine = [f"benchmarks.mine.target={photographs}/val/clean", "benchmarks.mine.degrade=sigma25"]
    command = [*small, *mine, f"mix.root={photographs}", f"paths.runs={tmp_path / 'runs'}", "logger=tensorboard"]
    command += ["train.steps=8", "train.checkpoint_every=4", "train.validate_every=4"]
    victim = start(command)
    wait_for_step(victim, tmp_path / "runs", 6)
    kill_tree(victim.pid)
    victim.communicate()
    code, output = run(command)
    assert code == 0 and "TensorBoard" not in output, output
    (config,) = (tmp_path / "runs").glob("*/*/seed0/config.yaml")
    record = Record(config.parent)
    assert not (record.folder / "wandb").exists()
    for name in ("train/loss", "val/psnr"):
        logged = {row["step"]: row[name] for row in record.metrics() if name in row}
        assert dict(scalars(record.folder, name)) == pytest.approx(logged, abs=1e-3), name
    assert [step for step, _ in scalars(record.folder, "test/mine/psnr")] == [8]
    assert [event.step for event in events(record.folder).Images("validation")] == [4, 8]
