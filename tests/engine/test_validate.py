"""Validation PSNR and the choice of samples: values that are not finite are told apart from the others."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from daair.engine.sample_choice import SampleChoice
from daair.engine.validate import validate
from daair.runs.record import Record


class Mix:
    """A mix of two degradations, two crops of which are black and so restored exactly."""

    labels = ("rain", "haze")

    def val_dataset(self) -> list[dict]:
        crops = []
        for label, name in ((0, "grey-0"), (0, "black-0"), (1, "black-1")):
            clean = torch.full((3, 16, 16), 0.5 if "grey" in name else 0.0)
            crops.append({"input": clean * 0.9, "target": clean, "label": label, "name": name})
        return crops


@pytest.fixture
def session(tmp_path) -> SimpleNamespace:
    from accelerate import Accelerator

    said: list[str] = []
    silent = SimpleNamespace(log=lambda *_: None, log_images=lambda *_: None, log_routing=lambda *_: None)
    reporter = SimpleNamespace(say=said.append)
    return SimpleNamespace(
        record=Record(tmp_path), accelerator=Accelerator(cpu=True), mirrors=silent, reporter=reporter, said=said
    )


def test_infinite_and_missing_values_are_counted_and_named_and_in_no_mean(session) -> None:
    values = validate(nn.Identity(), Mix(), session, 5)
    assert values["val/psnr/rain"] == pytest.approx(-20 * math.log10(0.05), abs=0.01)
    assert math.isnan(values["val/psnr/haze"]) and math.isnan(values["val/psnr"]) and values["val/not_finite"] == 2
    (line,) = session.record.metrics()
    assert line["val/psnr"] is None and line["val/psnr/haze"] is None and line["val/not_finite"] == 2
    assert session.said[1] == "left out of it, not finite: 2 of 3 crops: black-0 (inf), black-1 (inf)"


def test_finite_values_are_as_they_were(session) -> None:
    mix = Mix()
    crops = [{**crop, "target": crop["target"] + 0.1} for crop in mix.val_dataset()]
    mix.val_dataset = lambda: crops
    values = validate(nn.Identity(), mix, session, 5)
    assert "val/not_finite" not in values and len(session.said) == 1
    assert values["val/psnr/haze"] == pytest.approx(20.0, abs=0.01)


@pytest.mark.parametrize("shown", [None, {"b": "good.png", "c": "other.png"}])
def test_no_extreme_has_a_gain_that_is_not_finite_and_the_shown_image_may(shown: dict | None) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    crop = SimpleNamespace(degraded=picture, restored=picture, clean=picture)
    choice = SampleChoice(8, shown)
    gains = {"black.png": (20.0, math.inf), "clean.png": (math.inf, 30.0), "both.png": (math.inf, math.inf)}
    gains |= {"good.png": (20.0, 30.0), "bad.png": (20.0, 19.0)}
    for i, (image, (before, after)) in enumerate(gains.items()):
        row = {"benchmark": "b", "protocol": "promptir", "image": image, "input_psnr": before, "psnr": after}
        choice.consider(crop, [((0, 0, i), row)])
    assert [(sample.which, sample.image) for sample in choice.gather()] == [
        ("largest", "good.png"), ("shown", "good.png" if shown else "black.png"), ("smallest", "bad.png"),
    ]  # fmt: skip
