"""Contact sheets of a mix's degradations."""

from pathlib import Path

import numpy as np
import pytest
from helpers import ROOT, composed, composer, job, make_photographs
from PIL import Image

from daair import components
from daair.config.jobs import Composer, check
from daair.config.validate import validate
from daair.errors import UserError
from daair.tasks.preview import parameters, preview

QUICK = ["task=preview", "preview.draws=3", "preview.size=32"]


def sheet(tmp_path: Path, *overrides: str, name: str = "sheet.png") -> np.ndarray:
    """What the command with these overrides draws."""
    cfg = validate(composed(*QUICK, *overrides, f"output={tmp_path / name}"))
    assert preview(job(cfg, composer())) == 0
    return np.asarray(Image.open(tmp_path / name).convert("RGB"))


def test_a_row_for_each_degradation_and_four_columns(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    five, two = sheet(tmp_path), sheet(tmp_path, "preview.degradations=[noise50,haze]")
    assert five.shape[1] == two.shape[1] == 4 * (32 + 4) + 4
    assert five.shape[0] > 2 * two.shape[0]
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("noise15", "noise50", "rain", "haze", "astronaut, 512x512", "strong dB"))
    assert str(tmp_path / "sheet.png") in printed.replace("\n", "")


def test_the_same_command_draws_the_same_picture(tmp_path: Path) -> None:
    small = make_photographs(tmp_path) / "val/clean/val0.png"
    given = ("preview.degradations=[rain,low_haze_rain]", f"input={small}")
    first = sheet(tmp_path, *given)
    assert np.array_equal(first, sheet(tmp_path, *given, "seed=7"))
    assert not np.array_equal(first, sheet(tmp_path, *given, "mix.tasks.rain.degrade.angle=[20,20]"))


def test_photographs_of_the_root_and_of_ones_own(tmp_path: Path) -> None:
    root = make_photographs(tmp_path / "data")
    held_out = sheet(tmp_path, "mix=denoise", f"mix.root={root}")
    own = sheet(tmp_path, "mix=denoise", f"mix.root={root}", f"input={root / 'val/clean/val0.png'}", name="own.jpg")
    assert own.shape == held_out.shape and np.abs(own.astype(int) - held_out).mean() < 12, "but for JPEG"
    other = sheet(tmp_path, f"input={root / 'val/clean/val1.png'}", "preview.size=null")
    assert other.shape[1] == 4 * (48 + 4) + 4


def test_every_degradation_there_is(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photograph = make_photographs(tmp_path) / "val/clean/val0.png"
    sheet(tmp_path, "preview.degradations=all", f"input={photograph}")
    options, printed = [file.stem for file in (ROOT / "conf/degradation").glob("*.yaml")], capsys.readouterr().out
    assert len(options) >= 19 and all(f" {name} " in printed for name in options), printed


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["preview.degradations=[snwo]"], "preview.degradations: no snwo; did you mean snow? (options: noise15,"),
        (["mix=denoise"], "mix.root: needed by mix=denoise"),
        (["preview.draws=2"], "preview.draws: must be at least 3"),
        (["preview.degradations=rain"], "preview.degradations: "),
    ],
)
def test_mistakes_are_told_beforehand(overrides: list[str], message: str) -> None:
    composer = Composer(str(ROOT / "conf"))
    with pytest.raises(UserError) as error:
        check(composer.compose(["task=preview", *overrides]), composer.options, set())
    assert str(error.value).startswith(message)


def test_what_goes_wrong_later_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="output: .*sheet.gif: must be a picture file"):
        sheet(tmp_path, name="sheet.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="output: cannot write .*file/sheet.png"):
        sheet(tmp_path, "preview.degradations=[noise15]", name="file/sheet.png")
    monkeypatch.setattr("daair.data.degradations.haze", lambda image, rng, **_: image / 255)
    with pytest.raises(UserError, match="degradation haze: returned float64"):
        sheet(tmp_path, "preview.degradations=[haze]")


PIXELS = """
from typing import Annotated
from annotated_types import Ge

def pixelate(image, rng, *, block: tuple[Annotated[int, Ge(1)], Annotated[int, Ge(1)]]):
    side = int(rng.integers(block[0], block[1], endpoint=True))
    coarse = image[::side, ::side].repeat(side, 0).repeat(side, 1)
    return coarse[: image.shape[0], : image.shape[1]]
"""


def test_a_new_degradation_is_a_function_and_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """As docs/extend.md says; here both lie outside this package."""
    (tmp_path / "pixels.py").write_text(PIXELS)
    (tmp_path / "more/degradation").mkdir(parents=True)
    file = tmp_path / "more/degradation/pixelate.yaml"
    file.write_text("_target_: pixels.pixelate\n_partial_: true\nblock: [2, 8]\n")
    monkeypatch.syspath_prepend(tmp_path)
    composer = Composer(str(ROOT / "conf"), config_dir=str(tmp_path / "more"))
    beside = ["+degradation@mix.tasks.pixelate.degrade=pixelate"]
    photograph = make_photographs(tmp_path) / "val/clean/val0.png"
    given = [*QUICK, *beside, f"input={photograph}", f"output={tmp_path / 'x.png'}"]
    cfg = check(composer.compose(given), composer.options, set())
    assert preview(job(cfg, composer)) == 0 and "pixelate" in capsys.readouterr().out
    mix = components.build(cfg.mix)
    assert mix.labels[-1] == "pixelate" and mix.tasks["pixelate"].weight == 1
    with pytest.raises(UserError, match=r"mix.tasks.pixelate.degrade.block\[0\]: must be at least 1, got 0"):
        check(composer.compose([*given, "mix.tasks.pixelate.degrade.block=[0,8]"]), composer.options, set())


def test_parameters_in_words() -> None:
    steps = {"low": {"_target_": "x", "_partial_": True, "gamma": [1.0, 1.25]}, "jpeg": {"quality": [10, 40]}}
    assert parameters({"_target_": "x", "sigma": 15, "scale": 480.0}) == "sigma 15, scale 480"
    assert parameters({"_target_": "x", "steps": steps}) == "low (gamma 1..1.25), then jpeg (quality 10..40)"
