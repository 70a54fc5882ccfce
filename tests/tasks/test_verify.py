"""task=verify as people run it, and the warning of a training about scenes that it will be tested on."""

import io
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import SMALL, job, make_photographs, run
from PIL import Image
from rich.console import Console

from daair.data.audit import inspection
from daair.data.audit.findings import AuditReport, DatasetSummary
from daair.engine.data import warn_of_leaks
from daair.errors import UserError
from daair.tasks.verify import table, verify


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four photographs to train on, four to validate on, and a test set of one that is none of them."""
    root = make_photographs(tmp_path / "data")
    (root / "denoising/mcmaster").mkdir(parents=True)
    Image.effect_noise((500, 500), 90).convert("RGB").save(root / "denoising/mcmaster/1.tif")
    return root


def leak(root: Path) -> None:
    """The test set gets a picture that is trained on, in another size and file format."""
    scene = Image.open(root / "train/clean/train0.png").resize((500, 500), Image.Resampling.BICUBIC)
    scene.save(root / "denoising/mcmaster/2.jpg", quality=80)


def config(root: Path | None, runs: Path) -> SimpleNamespace:
    return SimpleNamespace(mix={"root": root and str(root)}, paths=SimpleNamespace(runs=str(runs)), output=None)


class Lines(list):
    """A reporter that remembers."""

    active = True

    def say(self, line: str) -> None:
        self.append(line)


def warnings_of(root: Path | None, runs: Path, **more) -> list[str]:
    lines = Lines()
    warn_of_leaks(config(root, runs), lines, **more)
    return lines


def test_errors_end_in_status_1_with_a_table_and_everything_as_json(root: Path, tmp_path: Path) -> None:
    leak(root)
    (root / "odd").mkdir()
    (root / "train/clean/train1.png").rename(root / "odd/1.png")
    code, output = run(["task=verify", f"mix.root={root}", f"paths.runs={tmp_path / 'runs'}", "output=report.json"],
                       cwd=tmp_path)  # fmt: skip
    assert code == 1, output
    assert "2 of 18, error" not in output and "2 of 18, warning" in output, "the fault lies with the training set"
    assert "error: clean/train: train/clean/train0.png: 1 of 2 scenes of mcmaster/test are in it" in output
    assert "not there: bsd400/train, wed/train, div2k/train, flickr2k/train, cbsd68/test" in output
    assert "cdd11/train, cdd11/test" in output
    assert "no pairs to train on: rain, haze, snow, blur, lowlight" in output and "odd (1)" in output
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["errors"] == 1 and told["warnings"] == output.count("\nwarning: ") and told["others"] == {"odd": 1}
    (error,) = [finding for finding in told["findings"] if finding["level"] == "error"]
    assert (error["dataset"], error["files"]) == ("clean/train", ["train/clean/train0.png"])
    assert {one["name"]: one["images"] for one in told["sets"]} == {
        "clean/train": 3,
        "clean/val": 4,
        "mcmaster/test": 2,
    }


def test_warnings_alone_are_status_0(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert verify(job(config(root, tmp_path / "runs"))) == 0
    assert "1 of 18 images: a subset" in capsys.readouterr().out
    assert json.loads((tmp_path / "runs/verify/data.json").read_text())["errors"] == 0


def test_the_table_keeps_its_numbers_where_there_is_little_room() -> None:
    """Long names and folders as MoCE-IR's, on the 120 columns of a file."""
    folder = "dehazing/RESIDE/a/very/long/way/down/to/where/the/pictures/are"
    one = DatasetSummary("cdd11_low_haze_rain/train", "moceir", [folder], 1183, 1183, 1183, input_psnr={"rgb": 12.345})
    console = Console(width=120, file=io.StringIO())
    console.print(table(AuditReport(Path("."), [one], []), 120))
    heads, line = [row for row in console.file.getvalue().splitlines() if "images" in row or "cdd11" in row]
    assert all(word in heads for word in ("images", "pairs", "input dB", "on Y", "published", "status"))
    assert all(word in line for word in ("cdd11_low_haze_rain/train", "moceir", "1183", "12.35", "complete"))


def test_without_a_root_the_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="mix.root: missing; task=verify needs mix.root=DIR"):
        verify(job(config(None, tmp_path)))


def test_a_training_says_once_that_it_trains_on_test_scenes(root: Path, tmp_path: Path) -> None:
    leak(root)
    few = [*SMALL, "train.steps=1", f"mix.root={root}", f"paths.runs={tmp_path / 'runs'}"]
    code, output = run(few)
    assert code == 0, output
    told = [line for line in output.splitlines() if "scenes of" in line]
    assert told == [
        "warning: 1 scenes of mcmaster/test are in clean/train (train/clean/train0.png shows denoising/mcmaster/2.jpg):"
        " results on them are not valid; task=verify lists all"
    ]


def test_only_what_is_trained_on_is_warned_of(root: Path, tmp_path: Path) -> None:
    assert warnings_of(root, tmp_path) == [] == warnings_of(None, tmp_path)
    leak(root)
    assert len(warnings_of(root, tmp_path)) == 1
    assert warnings_of(root, tmp_path, used=[root / "train/clean/train1.png"]) == []
    own = tmp_path / "own.png"
    Image.open(root / "denoising/mcmaster/1.tif").save(own)
    (line,) = warnings_of(root, tmp_path, used=[root / "train/clean/train1.png", own])
    assert "1 scenes of mcmaster/test are in the training images" in line and str(own) in line


def test_a_start_reads_few_files_and_a_second_one_none(root: Path, tmp_path: Path, monkeypatch) -> None:
    leak(root)
    looked = []
    inspect = inspection.inspect_file
    monkeypatch.setattr(inspection, "inspect_file", lambda path: looked.append(path.name) or inspect(path))
    monkeypatch.setattr("daair.data.audit.leaks.MOST_NEW", 4)
    first, second, third, fourth = (warnings_of(root, tmp_path / "runs") for _ in range(4))
    assert len(looked) == len(set(looked)) == 10, "each file once, four at a start"
    leaks = third  # the smallest set is looked at first, and has it
    assert len(leaks) == 1 and "mcmaster" in leaks[0] and fourth == leaks
    assert first == [*leaks, "6 pictures were not compared with test scenes yet; task=verify compares all"]
    assert second == [*leaks, first[1].replace("6", "2")]


def test_folders_that_cannot_be_looked_into_stop_no_training(root: Path, tmp_path: Path, monkeypatch) -> None:
    def refuse(root: object) -> None:
        raise UserError("val/clean: cannot be listed (Permission denied)")

    monkeypatch.setattr("daair.data.audit.leaks.locate_all", refuse)
    (line,) = warnings_of(root, tmp_path)
    assert line.startswith("warning: cannot look for test scenes") and line.endswith("(Permission denied)")
