"""What the loader draws: shares, keyed randomness, exact positions, and errors in the words of the config."""

import inspect
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import composed
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image
from torch.utils.data import DataLoader

from daair.data.benchmarks import BENCHMARKS, DEMO_PHOTOGRAPHS
from daair.data.catalogue import find_dataset
from daair.data.degradations import awgn, haze, noise, rain
from daair.data.mix import Mix
from daair.data.order import StepSampler
from daair.data.pairs import PairedFolders
from daair.data.sources import CleanSet, DeadLeaves, Folder, Photographs
from daair.data.tasks import MixTask
from daair.errors import UserError

DEGRADATIONS = {"noise25": partial(noise, sigma=25), "rain": rain, "haze": haze}
LEAVES = DeadLeaves(count=5, size=64)
HELD_OUT = DeadLeaves(count=2, size=48, seed=1)


def weighted(degradations=DEGRADATIONS, /, **weights) -> dict[str, MixTask]:
    """Tasks with these weights, 1 where none is given."""
    return {label: MixTask(degrade, weight=weights.get(label, 1)) for label, degrade in degradations.items()}


def make(**changes) -> Mix:
    settings = {
        "train": [LEAVES],
        "val": [HELD_OUT],
        "tasks": weighted(haze=2),
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


def test_an_epoch_has_the_shares_of_the_weights_to_the_sample():
    mix = make(tasks=weighted(rain=0, haze=3), synthetic_repeats=4, patch=8)
    assert mix.samples() == {"noise25": 10, "haze": 30}  # 2 active ones x 5 images x 4
    dataset = mix.train_dataset(0)
    labels = [dataset[40 + k]["label"] for k in range(len(dataset))]
    assert np.bincount(labels).tolist() == [10, 0, 30] and len(make().val_dataset()) == 9


@pytest.mark.parametrize(
    ("labels", "weights", "shares"),
    [
        (["noise15", "noise50", "rain"], [1, 1, 1], [0.25, 0.25, 0.5]),  # levels of noise are one task
        (["noise15", "noise50", "rain"], [1, 1, 0.5], [1 / 3, 1 / 3, 1 / 3]),
        (["noise15", "noise50", "rain"], [0, 1, 1], [0, 0.5, 0.5]),
        (["camera1", "camera2", "rain"], [1, 1, 1], [1 / 3, 1 / 3, 1 / 3]),  # a number alone makes no level
    ],
)
def test_equal_shares(labels, weights, shares):
    tasks = weighted(dict.fromkeys(labels, mark), **dict(zip(labels, weights, strict=True)))
    mix = make(tasks=tasks, balance="equal", synthetic_repeats=8)
    counts = mix.samples()
    wanted = {label: share * sum(counts.values()) for label, share in zip(labels, shares, strict=True) if share}
    assert counts == pytest.approx(wanted, abs=1)


def mark(image, rng):
    """A degradation that shows where it was."""
    return 255 - image


def test_crops_and_turns_are_shared_by_input_and_target():
    mix = make(tasks={"mark": MixTask(mark)})
    dataset = mix.train_dataset(0)
    whole = [image.pixels() for _, image in LEAVES.pictures()]
    poses = set()
    for k in range(40):
        sample = dataset[k]
        assert torch.allclose(sample["input"], 1 - sample["target"], atol=1e-6)
        clean = np.rint(sample["target"].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        image = whole[dataset.epochs.at(k // len(dataset), k % len(dataset))[1]]
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
    dataset = make(augment=False, tasks={"mark": MixTask(mark)}).train_dataset(0)
    images = [image.pixels() for _, image in LEAVES.pictures()]
    for k in range(5):
        crop = np.rint(dataset[k]["target"].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        assert find_pose(images[dataset.epochs.at(0, k)[1]], crop) == 0


def test_validation_is_fixed_and_held_out():
    dataset = make().val_dataset()
    assert len(dataset) == 9
    samples = [dataset[k] for k in range(9)]
    assert [s["label"] for s in samples] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert samples[0]["name"] == "noise25/leaves-000-0" and len({s["name"] for s in samples}) == 9
    assert torch.equal(samples[0]["target"], samples[3]["target"])  # the same crops for all
    assert same(make().val_dataset()[5], samples[5])
    assert len(make(tasks=weighted(rain=0)).val_dataset()) == 6
    with pytest.raises(IndexError):
        dataset[9]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"weight": -1}, "tasks.rain.weight: -1 is not a weight"),
        ({"weight": float("nan")}, "tasks.rain.weight: nan is not a weight"),
        ({"weight": 0}, "tasks: all have weight 0; give at least one a positive weight"),
        ({"degrade": None}, "tasks.rain.pairs: missing; tasks.rain.degrade=null, so there is nothing else to train on"),
        ({"source": "paired"}, "tasks.rain.pairs: missing, but tasks.rain.source=paired needs them"),
        ({"pairs": "rain100l/tain"}, "tasks.rain.pairs: dataset 'rain100l/tain' is unknown; did you mean rain100l/t"),
        ({"pairs": "clean/train"}, "tasks.rain.pairs: clean/train holds clean images only"),
    ],
)
def test_tasks_that_make_no_sense(changes, text):
    with pytest.raises(UserError) as caught:
        make(tasks={"rain": {"degrade": rain, **changes}})
    assert str(caught.value).startswith(text)


def test_repeats_of_a_task_without_pairs_count_its_clean_images():
    tasks = {"noise": MixTask(mark, repeats=7), "rain": MixTask(mark)}
    assert make(tasks=tasks, synthetic_repeats=2, balance="repeats").samples() == {"noise": 5 * 7, "rain": 5 * 2}


@pytest.mark.parametrize("balance", ["equal", "repeats"])
def test_levels_of_noise_have_the_share_as_one_task_that_they_have_as_three(balance, tmp_path):
    Image.fromarray(np.zeros((160, 160, 3), np.uint8)).save(tmp_path / "a.png")
    shares = {}
    for name in ("aio3", "aio3_kinds"):
        node = conf(name) | {"root": str(tmp_path), "balance": balance, "holdout": 0, "source": "synthetic"}
        train = [Folder(path=str(tmp_path))]
        mix = instantiate({**node, "train": [], "val": []}, train=train, val=train, _convert_="all")
        shares[name] = mix.samples()
    apart, together = shares.values()
    noise = sum(count for label, count in apart.items() if label.startswith("noise"))
    assert together == {"noise": noise, "rain": apart["rain"], "haze": apart["haze"]}


def test_a_second_view_is_another_crop_of_the_same_image():
    tasks = {"mark": MixTask(mark), "rain": MixTask(rain)}
    one, two = make(tasks=tasks).train_dataset(3), make(tasks=tasks).train_dataset(3, views=2)
    whole = [image.pixels() for _, image in LEAVES.pictures()]
    different = 0
    for k in range(20):
        sample = two[k]
        assert same({name: value for name, value in sample.items() if not name.endswith("2")}, one[k])
        assert same(sample, two[k]) and sample.keys() == one[k].keys() | {"input2", "target2"}
        image = whole[two.epochs.at(k // len(two), k % len(two))[1]]
        clean = np.rint(sample["target2"].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
        assert find_pose(image, clean) is not None
        if sample["label"] == 0:
            assert torch.allclose(sample["input2"], 1 - sample["target2"], atol=1e-6)
        different += not torch.equal(sample["target"], sample["target2"])
    assert different > 15


def test_noise_in_floating_point_is_neither_clipped_nor_rounded():
    mix = make(tasks={"awgn": MixTask(partial(awgn, sigma=50)), "noise": MixTask(partial(noise, sigma=50))})
    train, val = mix.train_dataset(0), mix.val_dataset()
    for dataset, count in ((train, 20), (val, 6)):
        samples = [dataset[k] for k in range(count)]
        classic = [sample for sample in samples if sample["label"] == 0]
        noisy, clean = (torch.stack([sample[name] for sample in classic]) for name in ("input", "target"))
        assert noisy.dtype == torch.float32 and noisy.min() < 0 <= clean.min() <= clean.max() <= 1 < noisy.max()
        assert (noisy - clean).std() * 255 == pytest.approx(50, rel=0.02)
        clipped = torch.stack([sample["input"] for sample in samples if sample["label"] == 1])
        assert clipped.min() >= 0 and clipped.max() <= 1
    assert same(train[3], mix.train_dataset(0)[3]) and same(val[1], mix.val_dataset()[1])


def test_patch_larger_than_the_images(tmp_path):
    Image.fromarray(np.zeros((90, 100, 3), np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError) as caught:
        make(train=[LEAVES, Folder(str(tmp_path))], patch=65).train_dataset(0)
    assert str(caught.value) == (
        "patch: 65 is larger than the image leaves-000 (64x64); give at most 64, or leave out what cannot be used with "
        "on_bad_file=skip"
    )
    with pytest.raises(UserError, match=r"larger than the image a.png \(100x90\); give at most 90"):
        make(train=[Folder(str(tmp_path))], patch=128).train_dataset(0)
    with pytest.raises(UserError, match="^val_patch: 64 is larger than the (smallest validation )?image"):
        make(val_patch=64).val_dataset()


def conf(name):
    return OmegaConf.to_container(composed(f"mix={name}", "mix.cache=null").mix)


MIXES = sorted(file.stem for file in (Path(__file__).parents[2] / "conf" / "mix").glob("*.yaml"))


@pytest.mark.parametrize("name", MIXES)
def test_configs_are_complete(name, tmp_path):
    """Every parameter stands in the file, so that it can be set without a `+`; labels and benchmarks exist."""
    node = conf(name)
    assert node["name"] == name
    assert set(node) - {"_target_"} == set(inspect.signature(Mix).parameters)
    if name == "paired":
        node["tasks"]["paired"]["pairs"] |= {"input": "a", "target": "b"}
    mix = instantiate(node | {"root": str(tmp_path)}, _convert_="all")
    assert set(mix.benchmarks) <= set(BENCHMARKS)
    assert all(task.keys() == MixTask.__dataclass_fields__.keys() for task in node["tasks"].values())
    labels = {BENCHMARKS[name].label for name in mix.benchmarks}
    if "noise" in mix.labels:  # one task for all levels
        labels = {label for label in labels if not label.startswith("noise")}
    assert labels <= set(mix.labels)
    for label, task in mix.tasks.items():
        assert isinstance(task.pairs, PairedFolders | None) or find_dataset(task.pairs.name).label == label


def test_the_pack_trains_all_five(data_root):
    mix = instantiate(conf("aio5") | {"root": str(data_root), "patch": 64}, _convert_="all")
    summary = mix.summary()
    assert {data["source"] for data in summary["degradations"].values()} == {"synthetic"}
    assert summary["degradations"]["lowlight"]["note"] == "lolv1/train has 4 pairs, fewer than min_pairs=100"
    samples = {label: data["samples"] for label, data in summary["degradations"].items()}
    shares = [sum(samples[f"noise{sigma}"] for sigma in (15, 25, 50)), *(samples[name] for name in ("rain", "blur"))]
    assert shares == pytest.approx([333 * 3 * 7 / 5] * 3, abs=2), "levels of noise are one task"
    assert summary["epoch"] == 333 * 3 * 7 and len(mix.clean_files()) == 333
    assert summary["validation"]["rain"]["images"] == 32
    assert mix.train_dataset(0)[5]["input"].shape == (3, 64, 64)
    node = conf("aio5") | {"root": str(data_root)}
    node["tasks"]["lowlight"]["source"] = "paired"
    four = instantiate(node, _convert_="all")
    assert len(four.images["lowlight"]) == 4 and four.images["lowlight"].source == "paired"
    assert four.images["rain"].source == "synthetic"  # not there


PROMPTIR = {
    "rain": ("Train/Derain/rainy/rain-{}.png", "Train/Derain/gt/norain-{}.png"),
    "haze": ("Train/Dehaze/synthetic/part1/{}_0.8_0.1.jpg", "Train/Dehaze/original/{}.png"),
    "blur": ("Train/Deblur/blur/{}.png", "Train/Deblur/sharp/{}.png"),
    "lowlight": ("Train/Enhance/low/{}.png", "Train/Enhance/gt/{}.png"),
    None: ("Train/Denoise/{}.png",),
}
MOCEIR = {
    "rain": ("deraining/RainTrainL/rainy/rain-{}.png", "deraining/RainTrainL/gt/norain-{}.png"),
    "haze": ("dehazing/RESIDE/part2/{}_0.8_0.1.jpg", "dehazing/RESIDE/clear/{}.png"),
    "blur": ("deblurring/GoPro/crop/train/input_crops/{}.png", "deblurring/GoPro/crop/train/target_crops/{}.png"),
    "lowlight": ("llie/LOLv1/Train/input/{}.png", "llie/LOLv1/Train/target/{}.png"),
    None: ("denoising/BSD400/{}.png", "denoising/WaterlooED/1{}.png"),
}


@pytest.mark.parametrize("layout", [PROMPTIR, MOCEIR], ids=["promptir", "moceir"])
def test_the_papers_folders_train_the_papers_mix(tmp_path, layout):
    """As they are: all but the noise on pairs, in the papers' proportions."""
    numbers = {"rain": 2, "haze": 4, "blur": 3, "lowlight": 1, None: 2}
    for label, names in layout.items():
        for name in names:
            for i in range(numbers[label]):
                file = tmp_path / name.format(i)
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.full((24, 24, 3), 10 * i, np.uint8)).save(file)
    node = conf("aio5") | {"root": str(tmp_path), "patch": 16, "val_patch": 16, "min_pairs": 1, "holdout": 0}
    if layout is MOCEIR:  # which holds GoPro's crops, not its frames
        without = instantiate(node, _convert_="all").summary()["degradations"]["blur"]
        assert without["source"] == "synthetic"
        note = "there is no gopro/train; for gopro_crops/train: tasks.blur.pairs=gopro_crops/train"
        assert without["note"] == note
        node["tasks"]["blur"]["pairs"] = "gopro_crops/train"
    mix = instantiate(node, _convert_="all")
    photographs = 2 * len(layout[None])
    assert mix.balance_used() == "repeats"
    noise = dict.fromkeys(("noise15", "noise25", "noise50"), 3 * photographs)
    wanted = noise | {"rain": 2 * 120, "haze": 4, "blur": 3 * 5, "lowlight": 20}
    assert mix.samples() == wanted
    assert {label: images.source for label, images in mix.images.items() if label not in noise} == dict.fromkeys(
        ("rain", "haze", "blur", "lowlight"), "paired"
    )


def test_demo_validates_on_photographs_that_it_does_not_train_on():
    node = conf("demo")
    train = {name for source in node["train"] for name in source.get("names", ())}
    val = {name for source in node["val"] for name in source["names"]}
    assert val == set(DEMO_PHOTOGRAPHS) and not train & val


def test_root_is_asked_for():
    with pytest.raises(UserError) as caught:
        make(train=[Folder("train/clean")], name="aio3")
    assert str(caught.value) == "root: needed by mix=aio3; train/clean is relative to it"
    with pytest.raises(UserError, match="^root: needed by mix=aio3; the folder with train/clean and val/clean$"):
        make(train=[CleanSet("clean/train")], name="aio3")


def test_construction_reads_nothing(tmp_path):
    mix = make(train=[Folder("train/clean")], val=[Photographs(("nonexistent",))], root=str(tmp_path / "missing"))
    assert mix.labels
    with pytest.raises(UserError, match=r"^root: .*missing: no such folder$"):
        mix.prepare()
