"""What a run is trained on is told at its start, written down, and the same when it goes on."""

import json
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from daair.data.degradations import haze, noise
from daair.data.mix import Mix
from daair.data.sources import DeadLeaves, Folder
from daair.data.tasks import MixTask
from daair.engine.data import check_finished, check_same_data, data_lines, prepared_mix
from daair.engine.progress import Reporter
from daair.errors import UserError
from daair.runs.record import Record

NOISE = MixTask(lambda image, rng: noise(image, rng, sigma=25))


NODE = {
    "_target_": "daair.data.mix.Mix",
    "tasks": {"noise": {"degrade": {"_target_": "daair.data.degradations.noise", "_partial_": True, "sigma": 5}}},
    "train": [{"_target_": "daair.data.sources.Folder", "path": "clean"}],
    "val": [{"_target_": "daair.data.sources.DeadLeaves", "count": 1, "size": 32}],
    "val_patch": 32,
}


def make(root, **changes):
    settings = {
        "train": [Folder("clean")],
        "val": [DeadLeaves(count=1, size=32)],
        "tasks": {"noise": NOISE, "haze": MixTask(haze, weight=3)},
        "synthetic_repeats": 4,
        "patch": 32,
        "val_patch": 32,
        "root": str(root),
    }
    return Mix(**(settings | changes))


@pytest.fixture
def root(tmp_path):
    for name, count in (("here/clean", 5), ("there/clean", 4)):
        (tmp_path / name).mkdir(parents=True)
        for i in range(count):
            pixels = np.random.default_rng(i).integers(0, 256, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    return tmp_path


def test_lines(root):
    lines = list(data_lines(make(root / "here")))
    assert lines == [
        "data: noise: synthetic, 5 clean images of clean; 10 samples an epoch (25.0%)",
        "data: haze: synthetic, 5 clean images of clean; 30 samples an epoch (75.0%)",
    ]
    for i in range(4):
        (root / "here" / "clean" / f"{i}.png").write_text("no picture")
    *_, first, _, _, last = data_lines(make(root / "here", on_bad_file="skip"))
    assert first.startswith(f"warning: left out {root}/here/clean/0.png: not a readable picture")
    assert last == "warning: 4 files were left out; data.json in the run's folder lists all"


def test_what_cannot_be_trained_on_is_told_with_its_config_key(root):
    node = {**NODE, "root": str(root / "here")}

    def prepare(sizes: Sequence[int] = (), **changes) -> Mix:
        train = SimpleNamespace(progressive=[SimpleNamespace(patch=size) for size in sizes])
        return prepared_mix(SimpleNamespace(mix=node | changes, train=train), Reporter(False))

    for changes, message in (
        ({"patch": 64}, r"mix.patch: 64 is larger than the image 0.png \(48x40\)"),
        ({"sizes": [16, 48, 32]}, r"train.progressive: 48 is larger than the image 0.png \(48x40\)"),
        ({"root": str(root / "nowhere")}, "mix.root: .*nowhere: no such folder"),
    ):
        with pytest.raises(UserError, match=f"^{message}"):
            prepare(**{"patch": 32, **changes})
    assert prepare(patch=32).samples() == prepare([16, 40], patch=128).samples() == {"noise": 5}


def test_a_finished_run_is_not_taken_for_one_of_other_data(root, tmp_path):
    """The place of data is no part of a run's identity, so that data may be moved."""

    def command(place: str) -> SimpleNamespace:
        return SimpleNamespace(
            mix={**NODE, "root": str(root / place), "patch": 32}, train=SimpleNamespace(progressive=[])
        )

    record, quiet = Record(tmp_path / "run"), Reporter(False)
    record.folder.mkdir()
    record.freeze({"mix": command("here").mix}, [])
    record.note_data(prepared_mix(command("here"), quiet).summary())
    record.update(state="done", step=3)
    check_finished(record, command("here"), quiet)
    with pytest.raises(
        UserError, match="was begun on other data: noise was synthetic .5 images .* now it is .*4 images"
    ):
        check_finished(record, command("there"), quiet)
    (root / "here").rename(root / "moved")
    check_finished(record, command("moved"), quiet)
    check_finished(record, command("gone"), quiet)  # it is only measured, for which it needs no training data


def test_a_run_goes_on_with_the_data_that_it_began_with(root, tmp_path):
    record, mix = Record(tmp_path / "run"), make(root / "here")
    record.folder.mkdir()
    check_same_data(record, make(root / "there"))  # nothing is known of it
    record.note_data(mix.summary())
    assert record.data() == mix.summary() == json.loads((tmp_path / "run" / "data.json").read_text())
    check_same_data(record, make(root / "there"))  # nothing was trained yet
    record.update(step=3)
    check_same_data(record, mix)
    check_same_data(Record(tmp_path / "run", writer=False), mix)
    (root / "here").rename(root / "moved")
    check_same_data(record, make(root / "moved"))
    with pytest.raises(UserError) as caught:
        check_same_data(record, make(root / "there"))
    text = str(caught.value)
    assert text.startswith(f"{record.folder} was begun on other data: noise was synthetic (5 images of clean, ")
    assert "now it is synthetic (4 images of clean, " in text and "study=NAME" in text
    noted = make(root / "moved").summary()
    data = noted["degradations"]["noise"]
    assert data["bytes"] == sum(file.stat().st_size for file in (root / "moved").rglob("*.png"))
    record.note_data({**noted, "degradations": {"noise": {**data, "bytes": 7}}})
    with pytest.raises(UserError, match="images of clean, 7 bytes, "):
        check_same_data(record, make(root / "moved"))
    del data["bytes"]  # as an earlier version noted it
    record.note_data(noted)
    check_same_data(record, make(root / "moved"))
    with pytest.raises(UserError, match="haze was synthetic .*, now it is nothing"):
        tasks = {"noise": NOISE, "haze": MixTask(haze, weight=0)}
        check_same_data(record, make(root / "moved", tasks=tasks, synthetic_repeats=2))
