"""The card of a network says what its run's folder holds, and no more."""

import json
from pathlib import Path

import pytest
import yaml
from studies import make_run

from daair.errors import UserError
from daair.report.card import card
from daair.runs.record import Record

DESCRIBED = {"model": {"_target_": "daair.models.nafnet.NAFNet"}, "labels": ["noise25", "rain"], "step": 100}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mix, choices = {"patch": 64, "root": "/secret/place"}, {"mix": "aio3"}
    train = {"steps": 100, "batch_size": 4}
    record = make_run(tmp_path, "a-1", 3, {"mix": mix, "choices": choices, "train": train}, 4.0, pictures=False)
    record.overrides_file.write_text(yaml.safe_dump(["mix=aio3", "mix.root=/secret/place", "paths.runs=/secret/runs"]))
    rain = {"source": "synthetic", "origin": "clean/train", "images": 33, "samples": 66, "digest": "", "note": ""}
    record.note_data({"degradations": {"rain": rain, "haze": {**rain, "source": "pairs", "origin": "haze/train"}}})
    (record.folder / "model.json").write_text(json.dumps(DESCRIBED))
    return record.folder


def test_it_tells_data_updates_seed_commit_and_results(folder: Path) -> None:
    text = card(folder, "hf://someone/small")
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["library_name"] == "daair" and "license" not in head  # which is its owner's choice
    for line in (
        "# small",
        "A NAFNet with 0.44 M parameters, trained with DaAIR Lab on these degradations: noise25, rain.",
        '    model = daair.load("hf://someone/small")',
        "| updates | 100 |",
        "| images of an update | 4, crops of 64 pixels |",
        "| seed | 3 |",
        "| data | mix `aio3` |",
        "| images with rain | 33 (clean/train, degraded by synthesis) |",
        "| images with haze | 33 (haze/train) |",
        "| command | `python run.py mix=aio3 mix.root=DIR seed=3` |",
        "| commit | 0123456789abcdef |",
        "| demo_noise25 | promptir | 4 | 21.50 | 0.5000 | 25.50 | 0.8000 | +4.00 |",
    ):
        assert line in text.splitlines(), line
    assert "secret" not in text


def test_folders_of_ones_own_are_not_named(folder: Path) -> None:
    record = Record(folder)
    given = ["mix=paired", "mix.tasks.mine.pairs={input:/secret/my rain,target:'~/secret/gt'}", "train.init=hf://a/b"]
    record.overrides_file.write_text(yaml.safe_dump([*given, "benchmarks.mine.target=/secret/b", "loss=l1"]))
    origin = "/secret/photos, ~/secret/more, generated"
    record.note_data({"degradations": {"rain": {"source": "synthetic", "origin": origin, "images": 3}}})
    text = card(folder, "hf://someone/small")
    assert "| images with rain | 3 (DIR, DIR, generated, degraded by synthesis) |" in text.splitlines()
    assert "mix.tasks.mine.pairs={input:DIR,target:" in text and "secret" not in text and "loss=l1 seed=3" in text


def test_weights_without_a_run_have_a_card_too(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(json.dumps(DESCRIBED))
    assert "| updates | 100 |" in card(tmp_path, "hf://a/b")
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(UserError, match="holds no network that daair has written"):
        card(tmp_path, "hf://a/b")
