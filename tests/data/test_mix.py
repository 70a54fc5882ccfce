"""What the loader draws: shares, keyed randomness, exact positions, and errors in the words of the config."""

import inspect
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from PIL import Image
from torch.utils.data import DataLoader

from daair.data.benchmarks import BENCHMARKS, DEMO_PHOTOGRAPHS, available
from daair.data.degradations import haze, noise, rain
from daair.data.mix import Mix, StepSampler
from daair.data.sources import DeadLeaves, Folder, Photographs
from daair.errors import UserError

DEGRADATIONS = {"noise25": partial(noise, sigma=25), "rain": rain, "haze": haze}
LEAVES = DeadLeaves(count=5, size=64)
HELD_OUT = DeadLeaves(count=2, size=48, seed=1)


def make(**changes) -> Mix:
    settings = {
        "train": [LEAVES],
        "val": [HELD_OUT],
        "degradations": DEGRADATIONS,
        "weights": {"noise25": 1, "rain": 1, "haze": 2},
        "patch": 32,
        "val_patch": 32,
        "val_crops": 3,
    }
    return Mix(**(settings | changes))


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[k], b[k]) if isinstance(a[k], torch.Tensor) else a[k] == b[k] for k in a
    )


def test_a_sample():
    mix = make()
    assert mix.labels == ["noise25", "rain", "haze"]
    sample = mix.train_dataset(0)[7]
    assert sample.keys() == {"input", "target", "label", "key"} and sample["key"] == 7
    for name in ("input", "target"):
        assert sample[name].shape == (3, 32, 32) and sample[name].dtype == torch.float32
        assert sample[name].is_contiguous() and sample[name].min() >= 0 and sample[name].max() <= 1
    assert sample["label"] in range(3) and not torch.equal(sample["input"], sample["target"])


def test_samples_depend_on_seed_epoch_and_index_alone():
    one, two = make().train_dataset(3), make().train_dataset(3)
    ahead = [one[k] for k in (0, 4, 17, 5, 203)]
    back = [two[k] for k in (203, 5, 17, 4, 0)][::-1]
    assert all(same(a, b) for a, b in zip(ahead, back, strict=True))
    assert not same(one[0], make().train_dataset(4)[0])
    assert not torch.equal(one[0]["input"], one[len(one)]["input"])  # the next epoch's


@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_draw_the_same(context, workers):
    mix = make()
    mix.prepare()

    def batches(workers):
        sampler = StepSampler(4, 0, 1, 2, 6)
        start = context if workers else None
        loader = DataLoader(
            mix.train_dataset(0), batch_sampler=sampler, num_workers=workers, multiprocessing_context=start
        )
        return list(loader)

    alone, shared = batches(0), batches(workers)
    assert len(alone) == len(shared) == 4
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))
    assert alone[0]["key"].tolist() == [8, 9, 10, 11]


def test_data_sets_survive_pickling():
    for dataset in (make().train_dataset(0), make().val_dataset()):
        assert same(pickle.loads(pickle.dumps(dataset))[2], dataset[2])


@pytest.mark.parametrize("repeats", [1, 3])
def test_an_epoch_visits_every_image_equally_often(repeats):
    dataset = make(repeats=repeats).train_dataset(0)
    assert len(dataset) == 5 * repeats
    orders = [dataset.order(epoch) for epoch in range(4)]
    for order in orders:
        assert np.bincount(order).tolist() == [repeats] * 5
    assert len({tuple(order) for order in orders}) > 1


def test_degradations_come_in_the_shares_of_the_weights():
    dataset = make(weights={"noise25": 1, "rain": 0, "haze": 3}, patch=8).train_dataset(0)
    labels = np.array([dataset[k]["label"] for k in range(800)])
    share = np.bincount(labels, minlength=3) / len(labels)
    assert share[1] == 0
    assert share[0] == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 800))


def test_no_rounding_error_reaches_a_label_without_weight():
    dataset = make(weights={"noise25": 0.1, "rain": 0.7, "haze": 0}).train_dataset(0)
    dataset.cumulative = dataset.cumulative * 0.5  # as if rounded far below 1
    assert {dataset[k]["label"] for k in range(40)} == {0, 1}


def mark(image, rng):
    """A degradation that shows where it was."""
    return 255 - image


def test_crops_and_turns_are_shared_by_input_and_target():
    mix = make(degradations={"mark": mark}, weights={"mark": 1})
    dataset = mix.train_dataset(0)
    whole = [image for _, image in LEAVES.load()]
    poses = set()
    for k in range(40):
        sample = dataset[k]
        assert torch.allclose(sample["input"], 1 - sample["target"], atol=1e-6)
        clean = np.rint(sample["target"].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        image = whole[dataset.order(k // len(dataset))[k % len(dataset)]]
        poses.add(find_pose(image, clean))
    assert None not in poses and len(poses) == 8


def find_pose(image, crop):
    """Which of the 8 symmetries of the square makes the crop a window of the image; None if none does."""
    size = crop.shape[0]
    windows = np.lib.stride_tricks.sliding_window_view(image, (size, size, 3)).reshape(-1, size, size, 3)
    for pose in range(8):
        turned = np.rot90(crop[:, ::-1] if pose >= 4 else crop, -(pose % 4) if pose < 4 else pose % 4)
        corner = np.flatnonzero((windows[:, 0, 0] == turned[0, 0]).all(1))
        if any(np.array_equal(windows[i], turned) for i in corner):
            return pose
    return None


def test_without_augmentation_crops_are_upright():
    dataset = make(augment=False, degradations={"mark": mark}, weights={"mark": 1}).train_dataset(0)
    image = {i: image for i, (_, image) in enumerate(LEAVES.load())}
    for k in range(5):
        crop = np.rint(dataset[k]["target"].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        assert find_pose(image[dataset.order(0)[k]], crop) == 0


def test_validation_is_fixed_and_held_out():
    dataset = make().val_dataset()
    assert len(dataset) == 9
    samples = [dataset[k] for k in range(9)]
    assert [s["label"] for s in samples] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert samples[0]["name"] == "noise25/leaves-000-0" and len({s["name"] for s in samples}) == 9
    assert torch.equal(samples[0]["target"], samples[3]["target"])  # the same crops for all
    assert same(make().val_dataset()[5], samples[5])
    assert len(make(weights={"noise25": 1, "rain": 0, "haze": 1}).val_dataset()) == 6
    with pytest.raises(IndexError):
        dataset[9]


@given(
    share=st.integers(1, 5), world=st.integers(1, 5), start=st.integers(0, 20), length=st.integers(0, 6),
    stop_at=st.integers(0, 6),
)  # fmt: skip
def test_step_sampler_partitions(share, world, start, length, stop_at):
    """Ranks together take every counter of a micro-batch once; stopping and going on changes nothing."""
    batch = share * world
    ranks = [list(StepSampler(batch, rank, world, start, start + length)) for rank in range(world)]
    assert [len(StepSampler(batch, r, world, start, start + length)) for r in range(world)] == [length] * world
    for step, parts in enumerate(zip(*ranks, strict=True), start=start):
        assert [k for part in parts for k in part] == list(range(step * batch, (step + 1) * batch))
        assert {len(part) for part in parts} == {share}
    middle = start + min(stop_at, length)
    resumed = [*StepSampler(batch, 0, world, start, middle), *StepSampler(batch, 0, world, middle, start + length)]
    assert resumed == ranks[0]


def test_step_sampler_refuses_uneven_shares():
    with pytest.raises(UserError, match="train.batch_size: 30 cannot be shared evenly by 4 processes"):
        StepSampler(30, 0, 4, 0, 1)


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ({"noise25": 1, "rain": 1, "haze": 1, "hase": 1}, "mix.weights.hase: unknown; did you mean mix.weights.haze?"),
        ({"noise25": 1, "rain": 1, "haze": 1, "qq": 1}, "mix.weights.qq: unknown; known are noise25, rain, haze"),
        ({"noise25": 1, "rain": 1}, "mix.weights.haze: missing"),
        ({"noise25": 1, "rain": -1, "haze": 1}, "mix.weights.rain: -1 is not a weight"),
        ({"noise25": 1, "rain": float("nan"), "haze": 1}, "mix.weights.rain: nan is not a weight"),
        ({"noise25": 0, "rain": 0, "haze": 0}, "mix.weights: all are 0"),
    ],
)
def test_weights_that_do_not_fit(weights, text):
    with pytest.raises(UserError) as caught:
        make(weights=weights)
    assert str(caught.value).startswith(text)


def test_patch_larger_than_the_images(tmp_path):
    Image.fromarray(np.zeros((90, 100, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError) as caught:
        make(train=[LEAVES, Folder(str(tmp_path))], patch=65).train_dataset(0)
    assert str(caught.value) == (
        "mix.patch: 65 is larger than the smallest training image (leaves-000, 64x64); "
        "the largest patch that fits is 64"
    )
    with pytest.raises(
        UserError, match=r"smallest training image \(a.png, 100x90\); the largest patch that fits is 90"
    ):
        make(train=[Folder(str(tmp_path))], patch=128).train_dataset(0)
    with pytest.raises(UserError, match="mix.val_patch: 64 is larger than the smallest validation image"):
        make(val_patch=64).val_dataset()


def conf(name):
    with initialize_config_dir(str(Path(__file__).parents[2] / "conf"), version_base="1.3"):
        return OmegaConf.to_container(compose("config", [f"mix={name}"]).mix)


@pytest.mark.parametrize("name", ["demo", "denoise", "aio3", "aio5"])
def test_configs_are_complete(name, data_root):
    """Every parameter stands in the file, so that it can be set without a `+`."""
    node = conf(name)
    assert node["name"] == name
    assert set(node) - {"_target_"} == set(inspect.signature(Mix).parameters)
    mix = instantiate(node | {"root": str(data_root)}, _convert_="all")
    assert set(mix.benchmarks) <= set(BENCHMARKS) and available(mix.benchmarks, data_root) == list(mix.benchmarks)
    if name != "denoise":  # reads what aio3 reads
        sample, held_out = mix.train_dataset(0)[5], mix.val_dataset()[0]
        assert sample["input"].shape == (3, mix.patch, mix.patch) and held_out["input"].shape[1:] == (128, 128)
    tasks = {"noise": 0.0} | {label: 0.0 for label in mix.labels if not label.startswith("noise")}
    for label, weight in mix.weights.items():
        tasks["noise" if label.startswith("noise") else label] += weight
    if name == "demo":  # a short training sees less haze, see the file
        assert tasks.pop("haze") < tasks["rain"]
    assert len(set(tasks.values())) == 1  # equal shares


def test_demo_validates_on_photographs_that_it_does_not_train_on():
    node = conf("demo")
    train = {name for source in node["train"] for name in source.get("names", ())}
    val = {name for source in node["val"] for name in source["names"]}
    assert val == set(DEMO_PHOTOGRAPHS) and not train & val


def test_root_is_asked_for():
    with pytest.raises(UserError) as caught:
        make(train=[Folder("train/clean")], name="aio3")
    assert str(caught.value) == "mix.root: needed by mix=aio3; the folder with train/clean and val/clean"


def test_construction_reads_nothing(tmp_path):
    mix = make(train=[Folder("train/clean")], val=[Photographs(("nonexistent",))], root=str(tmp_path / "missing"))
    assert mix.labels
    with pytest.raises(UserError, match="missing/train/clean: no such folder"):
        mix.prepare()
