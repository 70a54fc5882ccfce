"""What a task is trained on: pairs where they are, else clean photographs; told, and the same crop for both."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daair.data import images
from daair.data.catalogue import find_dataset
from daair.data.degradations import haze, rain
from daair.data.mix import Mix
from daair.data.pairs import PairedFolders
from daair.data.sources import CleanSet, DeadLeaves, Folder
from daair.data.task_images import TaskImages, hold_out
from daair.data.tasks import MixTask
from daair.errors import UserError

SIZE = 40


def picture(seed, size=SIZE):
    return np.random.default_rng(seed).integers(0, 200, (size, size + 4, 3), dtype=np.uint8)


def write_pairs(folder, count, inputs="rainy", targets="gt", names="rain-{}"):
    """Inputs are 50 grey levels above their targets, so that a sample shows which pixels it was cut from."""
    for part in (inputs, targets):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        clean = picture(i)
        Image.fromarray(clean).save(folder / targets / f"no{names.format(i)}.png")
        Image.fromarray(clean + 50).save(folder / inputs / f"{names.format(i)}.png")


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    """PromptIR's folders: 3 photographs, 6 pairs of rain."""
    root = tmp_path_factory.mktemp("papers")
    (root / "Train" / "Denoise").mkdir(parents=True)
    for i in range(3):
        Image.fromarray(picture(100 + i)).save(root / "Train" / "Denoise" / f"{i}.png")
    write_pairs(root / "Train" / "Derain", 6)
    return root


RAIN, HAZE = MixTask(rain, "rain100l/train", repeats=5), MixTask(haze, "ots/train")


def make(root, /, **changes):
    settings = {
        "train": [CleanSet("clean/train")],
        "val": [DeadLeaves(count=2, size=32)],
        "tasks": {"rain": RAIN, "haze": HAZE},
        "synthetic_repeats": 4,
        "min_pairs": 5,
        "patch": 16,
        "val_patch": 32,
        "val_crops": 2,
        "root": str(root),
    }
    return Mix(**(settings | changes))


def test_auto_takes_pairs_where_they_are(papers):
    mix = make(papers)
    summary = mix.summary()
    rain_, haze_ = summary["degradations"]["rain"], summary["degradations"]["haze"]
    assert rain_["source"] == "paired" and rain_["origin"] == "rain100l/train (promptir layout)"
    assert (rain_["images"], haze_["source"], haze_["images"]) == (5, "synthetic", 3)
    assert summary["validation"]["rain"] == {"source": "paired", "origin": rain_["origin"], "images": 1}
    assert summary["validation"]["haze"]["source"] == "synthetic"
    assert summary["balance"] == "equal" and rain_["samples"] + haze_["samples"] == 5 * 5 + 3 * 4
    assert len(mix.clean_files()) == 9


def test_repeats_of_the_papers_hold_where_all_is_paired(papers):
    mix = make(papers, tasks={"rain": replace(RAIN, repeats=120), "haze": MixTask(haze)}, synthetic_repeats=3)
    assert mix.balance_used() == "repeats"
    assert mix.samples() == {"rain": 5 * 120, "haze": 3 * 3}
    assert make(papers, balance="repeats", holdout=0).samples() == {"rain": 30, "haze": 12}
    halved = make(
        papers, balance="repeats", holdout=0, tasks={"rain": replace(RAIN, weight=0.5), "haze": HAZE}
    ).samples()
    assert halved["rain"] / halved["haze"] == pytest.approx(15 / 12, rel=0.1)


def test_few_pairs_are_told_and_passed_over(papers):
    mix = make(papers, min_pairs=7)
    assert mix.images["rain"].source == "synthetic"
    assert mix.summary()["degradations"]["rain"]["note"] == "rain100l/train has 6 pairs, fewer than min_pairs=7"
    asked = {"rain": replace(RAIN, source="paired"), "haze": HAZE}
    assert make(papers, min_pairs=7, tasks=asked).images["rain"].source == "paired"
    assert make(papers, source="synthetic").images["rain"].source == "synthetic"
    own = {"rain": replace(RAIN, source="synthetic"), "haze": MixTask(haze)}
    assert make(papers, source="paired", tasks=own).images["rain"].source == "synthetic"


def test_both_of_a_pair_are_cut_and_turned_alike(papers):
    tasks = {"rain": RAIN, "haze": replace(HAZE, weight=0)}
    dataset = make(papers, tasks=tasks).train_dataset(0)
    seen = set()
    for k in range(30):
        sample = dataset[k]
        assert np.allclose(sample["input"] * 255, sample["target"] * 255 + 50, atol=1e-3) and sample["label"] == 0
        seen.add(sample["target"].numpy().tobytes())
    assert len(seen) == 30
    assert np.array_equal(dataset[7]["input"], make(papers, tasks=tasks).train_dataset(0)[7]["input"])


def test_pairs_of_16_bits_are_trained_on_at_full_depth(tmp_path):
    """Inputs are a hundredth of a level of 8 bits above their targets."""
    step = np.float32(2 / 65535)
    for i in range(4):
        clean = np.random.default_rng(i).integers(0, 60000, (SIZE, SIZE + 4, 3)) / np.float32(65535)
        for part, rgb in (("a", clean + step), ("b", clean)):
            images.write(tmp_path / part / f"{i}.png", images.PictureFile(rgb.astype(np.float32), bits=16))
    tasks = {"mine": MixTask(pairs=PairedFolders("a", "b"))}
    for cache in (None, str(tmp_path / "cache")):
        mix = make(tmp_path, tasks=tasks, val_patch=16, cache=cache)
        for dataset in (mix.train_dataset(0), mix.val_dataset()):
            difference = dataset[0]["input"] - dataset[0]["target"]
            assert difference.min() > 0 and difference.mean().item() == pytest.approx(step, rel=0.01)


def test_a_second_view_of_a_pair_is_another_crop_of_the_same_pair(papers):
    tasks = {"rain": RAIN, "haze": replace(HAZE, weight=0)}
    one, two = make(papers, tasks=tasks).train_dataset(0), make(papers, tasks=tasks).train_dataset(0, views=2)
    different = 0
    for k in range(10):
        sample = two[k]
        assert np.array_equal(sample["input"], one[k]["input"]) and np.array_equal(sample["target"], one[k]["target"])
        assert np.allclose(sample["input2"] * 255, sample["target2"] * 255 + 50, atol=1e-3)
        different += not np.array_equal(sample["target"], sample["target2"])
    assert different > 7


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tasks": {"haze": replace(HAZE, source="paired")}}, "tasks.haze.source: paired, but ots/train: nothing in "),
        ({"tasks": {"haze": replace(HAZE, source="paired")}}, "; tasks.haze.source=synthetic needs no pairs"),
        ({"source": "paired"}, "tasks.haze.source: paired, but ots/train: nothing in "),
        ({"tasks": {"haze": replace(HAZE, degrade=None)}}, "tasks.haze.source: paired, but ots/train: nothing in "),
        (
            {"tasks": {"haze": MixTask(pairs="ots/train", source="synthetic")}},
            "tasks.haze.source: synthetic, but tasks.haze.degrade=null; only pairs can train it",
        ),
        ({"root": "/no/such/place"}, "root: /no/such/place: no such folder"),
        ({"root": None}, "root: needed by mix=mix; the folder with train/clean and val/clean"),
    ],
)
def test_what_does_not_go_together(papers, changes, text):
    with pytest.raises(UserError) as caught:
        make(papers, **changes).images  # noqa: B018
    assert text in str(caught.value)


def test_pairs_are_validated_on_pairs_that_are_not_trained_on(papers):
    mix = make(papers, tasks={"rain": RAIN, "haze": HAZE}, holdout=0.4)
    mix.prepare()
    trained, held = (set(images["rain"].names) for images in mix._ready)
    assert len(trained) == 4 and len(held) == 2 and not trained & held
    samples = [mix.val_dataset()[k] for k in range(len(mix.val_dataset()))]
    rainy = [sample for sample in samples if sample["label"] == 0]
    assert {sample["name"] for sample in rainy} == {f"rain/{name}-0" for name in held}
    for sample in rainy:
        assert np.allclose(sample["input"] * 255, sample["target"] * 255 + 50, atol=1e-3), "not an imitation"
    everything = make(papers, holdout=0)
    assert everything.summary()["degradations"]["rain"]["images"] == 6
    assert set(everything.summary()["validation"]) == {"haze"}
    with pytest.raises(UserError, match="^holdout: 0 leaves nothing to validate on"):
        make(papers, tasks={"rain": RAIN}, holdout=0).prepare()


def test_a_scene_is_not_split():
    """Frames of one GoPro sequence, and crops of one frame, are nearly the same picture."""
    names = [f"GOPR03{s}_07_00-{frame:06}-{crop}.png" for s in range(72, 82) for frame in (47, 48) for crop in (1, 2)]
    files = [Path("sharp") / name for name in names]
    pairs = TaskImages(names, [(file, file) for file in files], "gopro")
    train, val = (
        {name[:14] for name in part.names} for part in hold_out(pairs, 0.3, find_dataset("gopro/train").scene)
    )
    assert len(train) == 7 and len(val) == 3 and not train & val
    assert len(hold_out(pairs, 0.3)[1]) == 12, "each clean image by itself"


def folders(root, /, pairs=None, **changes):
    settings = {
        "tasks": {"mine": MixTask(pairs=pairs or PairedFolders("a", "b", rule="rain"))},
        "val_patch": 16,
    }
    return make(root, **(settings | changes))


def test_any_two_folders(tmp_path):
    write_pairs(tmp_path, 10, "a", "b")
    mix = folders(tmp_path, holdout=0.2)
    summary = mix.summary()
    assert summary["degradations"]["mine"]["images"] == 8 and summary["validation"]["mine"]["images"] == 2
    assert summary["degradations"]["mine"]["origin"] == "a and b (own layout)"
    trained, held = (set(images.names) for images in (mix._ready[0]["mine"], mix._ready[1]["mine"]))
    assert not trained & held
    sample = mix.val_dataset()[0]
    assert np.allclose(sample["input"] * 255, sample["target"] * 255 + 50, atol=1e-3)
    absolute = PairedFolders(str(tmp_path / "a"), str(tmp_path / "b"), rule="rain")
    assert folders(None, pairs=absolute, root=None, holdout=0.2).summary()["epoch"] == 8


def test_folders_that_are_not_there(tmp_path):
    write_pairs(tmp_path, 1, "a", "b")
    with pytest.raises(UserError, match=r"^tasks.mine.pairs.input: .*/c: no such folder"):
        folders(tmp_path, pairs=PairedFolders("c", "b")).images  # noqa: B018
    with pytest.raises(UserError, match="^tasks.mine.pairs: .* shows the only scene; two are needed"):
        folders(tmp_path).prepare()
    (tmp_path / "e").mkdir()
    with pytest.raises(UserError, match="e: holds no images; put files of these kinds there"):
        folders(tmp_path, pairs=PairedFolders("a", "e")).images  # noqa: B018


def test_half_a_pair(tmp_path):
    write_pairs(tmp_path, 5, "a", "b")
    (tmp_path / "b" / "norain-3.png").unlink()
    with pytest.raises(UserError) as caught:
        folders(tmp_path).images  # noqa: B018
    assert str(caught.value) == (
        f"{tmp_path}/a/rain-3.png: no clean image 'norain-3' in {tmp_path}/b; restore the pair, "
        "or leave out what cannot be used with on_bad_file=skip"
    )
    summary = folders(tmp_path, on_bad_file="skip").summary()
    assert summary["degradations"]["mine"]["images"] + summary["validation"]["mine"]["images"] == 4
    assert summary["skipped"] == [{"file": str(tmp_path / "a" / "rain-3.png"), "why": "it has no clean image"}]


def test_half_a_pair_tells_what_is_wrong_with_the_names(tmp_path):
    write_pairs(tmp_path, 3, "a", "b")
    with pytest.raises(UserError, match=r"rain-0.png: its name does not fit the rule 'hazy-\(.\+\) -> .*for 2 others"):
        folders(tmp_path, pairs=PairedFolders("a", "b", r"hazy-(.+) -> \1")).images  # noqa: B018
    with pytest.raises(UserError, match="no clean image 'rain-0' .*; restore the pair, or set .rule=rain beside"):
        folders(tmp_path, pairs=PairedFolders("a", "b")).images  # noqa: B018
    (tmp_path / "b" / "norain-2.png").rename(tmp_path / "b" / "NoRain-2.png")
    with pytest.raises(UserError, match="no clean image 'norain-2' in .*; there is NoRain-2.png, whose case differs"):
        folders(tmp_path).images  # noqa: B018


def test_inputs_that_are_their_targets(tmp_path):
    write_pairs(tmp_path, 3, "a", "b")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for other in ("a", "b/../a", "link"):
        with pytest.raises(UserError, match="^tasks.mine.pairs.input: .*: is the folder of the clean images too"):
            folders(tmp_path, pairs=PairedFolders("a", other)).images  # noqa: B018
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    with pytest.raises(UserError, match="/a: every image equals its clean image in .*/c$"):
        folders(tmp_path, pairs=PairedFolders("a", "c")).images  # noqa: B018
    Image.fromarray(picture(9, size=40)).save(tmp_path / "c" / "rain-2.png")
    assert folders(tmp_path, pairs=PairedFolders("a", "c")).images


def test_sizes_of_a_pair_that_differ(tmp_path):
    write_pairs(tmp_path, 4, "a", "b")
    Image.fromarray(picture(9, size=50)).save(tmp_path / "b" / "norain-2.png")
    with pytest.raises(UserError) as caught:
        folders(tmp_path).prepare()
    assert f"a/rain-2.png: 44x40 pixels, but its clean image {tmp_path}/b/norain-2.png 54x50" in str(caught.value)
    assert len(folders(tmp_path, on_bad_file="skip").summary()["skipped"]) == 1


def test_other_data_have_another_digest(tmp_path):
    write_pairs(tmp_path, 4, "a", "b")
    before = folders(tmp_path).summary()
    assert folders(tmp_path).summary() == before
    for part in ("a", "b"):
        Image.fromarray(picture(9, size=50)).save(tmp_path / part / ("norain-2.png" if part == "b" else "rain-2.png"))
    assert folders(tmp_path).summary() != before
    assert Folder("x").needs_root
