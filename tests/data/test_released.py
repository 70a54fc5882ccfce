"""Data sets are found and paired as the authors' archives unpack, without moving or renaming a file."""

import contextlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image, ImageFilter

from daair.data.audit.root import audit_root
from daair.data.benchmarks import load_benchmark
from daair.data.catalogue import DATASETS
from daair.data.datasets import locate_all, locate_dataset
from daair.data.sources import CleanSet
from daair.data.task_images import TaskImages, hold_out
from daair.errors import UserError

SNOW = "media/jdway/GameSSD/overlapping/test"
REALBLUR = "RealBlur/RealBlur-J_ECC_IMCORR_centroid_itensity_ref"
SIDD = "SIDD_Medium_Srgb/Data/0001_001_S6_00100_00060_3200_L"

# By data set: files of the degraded images, each with its clean one; the folders are those of the published archives.
PAIRS = {
    "gopro/train": {
        "GOPRO_Large/train/GOPR0372_07_00/blur/000047.png": "GOPRO_Large/train/GOPR0372_07_00/sharp/000047.png",
        "GOPRO_Large/train/GOPR0374_11_00/blur/000047.png": "GOPRO_Large/train/GOPR0374_11_00/sharp/000047.png",
    },
    "gopro_gamma/train": {
        "GOPRO_Large/train/GOPR0372_07_00/blur_gamma/000047.png": "GOPRO_Large/train/GOPR0372_07_00/sharp/000047.png",
        "GOPRO_Large/train/GOPR0374_11_00/blur_gamma/000047.png": "GOPRO_Large/train/GOPR0374_11_00/sharp/000047.png",
    },
    "gopro/test": {"test/GOPR0384_11_00/blur/000001.png": "test/GOPR0384_11_00/sharp/000001.png"},
    "lolv1/train": {"our485/low/2.png": "our485/high/2.png"},
    "lolv1/test": {"LOLdataset/eval15/low/1.png": "LOLdataset/eval15/high/1.png"},
    "lolv2_real/train": {
        "LOL-v2/Real_captured/Train/Low/low00001.png": "LOL-v2/Real_captured/Train/Normal/normal00001.png"
    },
    "lolv2_syn/test": {"LOL-v2/Synthetic/Test/Low/r000da54ft.png": "LOL-v2/Synthetic/Test/Normal/r000da54ft.png"},
    "sots_outdoor/test": {"SOTS/outdoor/hazy/0001_0.8_0.2.jpg": "SOTS/outdoor/gt/0001.png"},
    "sots_indoor/test": {
        "SOTS/indoor/nyuhaze500/hazy/1400_1.png": "SOTS/indoor/nyuhaze500/gt/1400.png",
        "SOTS/indoor/nyuhaze500/hazy/1400_2.png": "SOTS/indoor/nyuhaze500/gt/1400.png",
    },
    "ots/train": {
        "OTS_BETA/haze/part1/0005_0.8_0.04.jpg": "OTS_BETA/clear/0005.jpg",
        "OTS_BETA/haze/part2/0008_1_0.2.jpg": "OTS_BETA/clear/0008.jpg",
    },
    "its/train": {"ITS/train/ITS_haze/1_1_0.90179.png": "ITS/train/ITS_clear/1.png"},
    "rain100l/test": {"rain_data_test_Light/rain/X2/norain-001x2.png": "rain_data_test_Light/norain/norain-001.png"},
    "rain100l/train": {"rain_data_train_Light/rain/norain-1x2.png": "rain_data_train_Light/norain/norain-1.png"},
    "rain100h/test": {"Rain100H/rainy/rain-001.png": "Rain100H/norain-001.png"},
    "rain100h/train": {"rain_data_train_Heavy/rain/X2/norain-7x2.png": "rain_data_train_Heavy/norain/norain-7.png"},
    "rain1400/train": {
        "rainy_image_dataset/training/rainy_image/1_14.jpg": "rainy_image_dataset/training/ground_truth/1.jpg"
    },
    "outdoor_rain/train": {"Outdoor-Rain/train/in/im_0001_s80_a04.png": "Outdoor-Rain/train/gt/im_0001.png"},
    "raindrop/train": {"raindrop_data/train/data/0_rain.png": "raindrop_data/train/gt/0_clean.png"},
    "raindrop_a/test": {"raindrop_data/test_a/data/0_rain.png": "raindrop_data/test_a/gt/0_clean.png"},
    "raindrop_b/test": {"RainDrop/test_b/data/0_rain.jpg": "RainDrop/test_b/gt/0_clean.jpg"},
    "snow100k/train": {"all/synthetic/beautiful_smile_00001.jpg": "all/gt/beautiful_smile_00001.jpg"},
    "snow100k_l/test": {f"{SNOW}/Snow100K-L/synthetic/city_1.jpg": f"{SNOW}/Snow100K-L/gt/city_1.jpg"},
    "realblur_j/train": {
        f"{REALBLUR}/scene001/blur/blur_1.png": f"{REALBLUR}/scene001/gt/gt_1.png",
        f"{REALBLUR}/scene002/blur/blur_1.png": f"{REALBLUR}/scene002/gt/gt_1.png",
    },
    "realblur_j/test": {f"{REALBLUR}/scene050/blur/blur_8.png": f"{REALBLUR}/scene050/gt/gt_8.png"},
    "sidd/train": {
        f"{SIDD}/0001_NOISY_SRGB_010.PNG": f"{SIDD}/0001_GT_SRGB_010.PNG",
        f"{SIDD}/0001_NOISY_SRGB_011.PNG": f"{SIDD}/0001_GT_SRGB_011.PNG",
    },
    "cdd11_low_haze/test": {"CDD-11_test/low_haze/03.png": "CDD-11_test/clear/03.png"},
}
CLEAN = {
    "div2k/train": ["DIV2K/DIV2K_train_HR/0001.png"],
    "flickr2k/train": ["Flickr2K/Flickr2K_HR/000001.png"],
    "wed/train": ["exploration_database_and_code/pristine_images/00001.bmp"],
    "bsd400/train": ["BSR/BSDS500/data/images/test/2018.jpg", "BSR/BSDS500/data/images/train/2092.jpg"],
    "cbsd68/test": ["CBSD68/101085.png"],
    "kodak24/test": ["Kodak24/kodim01.png"],
    "clean/val": ["DIV2K/DIV2K_valid_HR/0801.png"],
}


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them in one folder, with what else is in the archives."""
    root = tmp_path_factory.mktemp("data")
    for files in PAIRS.values():
        touch(root, *files, *files.values())
    touch(root, *(file for files in CLEAN.values() for file in files))
    touch(root, "BSR/BSDS500/data/images/val/101085.jpg", f"{SNOW}/Snow100K-L/mask/city_1.jpg", "all/mask/x.jpg")
    for split in ("train", "test"):
        files = [f"./{part}" for pair in PAIRS[f"realblur_j/{split}"].items() for part in reversed(pair)]
        lines = [" ".join(files[i : i + 2]).replace("RealBlur/", "") for i in range(0, len(files), 2)]
        (root / f"RealBlur/RealBlur_J_{split}_list.txt").write_text("\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_are_found_where_the_archive_puts_them(root, name):
    located = locate_dataset(name, root)
    assert located.place.layout == "released"
    found = located.pairing()
    assert {str(one.input.relative_to(root)): str(one.target.relative_to(root)) for one in found.pairs} == PAIRS[name]
    assert not found.lone_inputs and not found.lone_targets
    assert len({one.name for one in found.pairs}) == len(PAIRS[name])


@pytest.mark.parametrize("name", CLEAN)
def test_clean_photographs_are_found_where_the_archive_puts_them(root, name):
    assert [str(file.relative_to(root)) for file in locate_dataset(name, root).files()] == CLEAN[name]


def test_nothing_else_is_found(root):
    found = {located.dataset.name for located in locate_all(root)}
    # cdd11_*/test share the folder of clean images; their inputs are other folders
    assert found == {*PAIRS, *CLEAN, "clean/train"}


def test_test_sets_are_benchmarks(root):
    for name in PAIRS:
        base, split = name.split("/")
        if split == "test":
            assert len(load_benchmark(base, root)) == len(PAIRS[name])


def test_training_photographs_are_those_of_the_papers_or_else_of_div2k_and_flickr2k(root, tmp_path):
    names = [name for name, _ in CleanSet("clean/train").pictures(str(root))]
    assert sorted(names) == ["00001.bmp", "2018.jpg", "2092.jpg"]
    touch(tmp_path, "DIV2K/DIV2K_train_HR/0001.png")
    assert [name for name, _ in CleanSet("clean/train").pictures(str(tmp_path))] == ["0001.png"]


@pytest.mark.parametrize("name", ["gopro/train", "realblur_j/train"])
def test_scenes_are_told_by_folders(root, name):
    """Frames of a sequence all go into the same part."""
    located = locate_dataset(name, root)
    pairs = located.pairing().pairs
    again = [(pair.target.with_name(f"9{pair.target.name}"), pair.input) for pair in pairs]
    pictures = [(pair.target, pair.input) for pair in pairs] + again
    images = TaskImages([str(i) for i in range(len(pictures))], pictures, name)
    parts = hold_out(images, 0.5, located.dataset.scene)
    folders = [{target.parent for target, _ in part.pictures} for part in parts]
    assert [len(part) for part in parts] == [2, 2] and not folders[0] & folders[1]


def test_realblur_needs_the_lists_that_divide_it(root, tmp_path):
    files = [name for pair in PAIRS["realblur_j/train"].items() for name in pair]
    touch(tmp_path, *(name.replace("RealBlur/", "") for name in files))
    assert locate_dataset("realblur_j/train", tmp_path) is None
    (tmp_path / "RealBlur_J_train_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"RealBlur_J_train_list.txt: cannot be read"):
        locate_dataset("realblur_j/train", tmp_path).holds_images()


def test_official_numbers():
    """As the papers and the authors' pages give them."""
    counts = {name: dataset.count for name, dataset in DATASETS.items()}
    assert [counts[f"gopro/{split}"] for split in ("train", "test")] == [2103, 1111]
    assert [counts[f"lolv2_{kind}/train"] for kind in ("real", "syn")] == [689, 900]
    assert sum(counts[f"snow100k_{size}/test"] for size in "sml") == counts["snow100k/train"] == 50000
    assert [counts[f"realblur_j/{split}"] for split in ("train", "test")] == [3758, 980]
    assert [counts[name] for name in ("raindrop/train", "raindrop_a/test", "raindrop_b/test")] == [861, 58, 249]
    assert (counts["rain1400/train"], counts["rain1400/test"]) == (900 * 14, 100 * 14)
    assert all(dataset.reference for dataset in DATASETS.values())


def test_verify_names_and_measures_what_was_downloaded(tmp_path):
    """Two sequences of GoPro with equal file names are compared with their own sharp frames."""
    rng = np.random.default_rng(0)
    for name in PAIRS["gopro/train"]:
        coarse = Image.fromarray(rng.integers(0, 255, (9, 16, 3), dtype=np.uint8))
        for part, radius in (("blur", 4), ("sharp", 0)):
            file = tmp_path / name.replace("blur", part)
            file.parent.mkdir(parents=True, exist_ok=True)
            coarse.resize((1280, 720)).filter(ImageFilter.BoxBlur(radius)).save(file)
    report = audit_root(tmp_path, lambda name, total: contextlib.nullcontext(Mock()))
    (one,) = report.sets
    assert (one.name, one.layout, one.pairs, one.official) == ("gopro/train", "released", 2, 2103)
    assert one.input_psnr["rgb"] > 25 and one.status == "2 of 2103, warning" and not report.count("error")
    assert not report.others
