"""The audit of a root folder: what is wrong is found and named, and nothing else."""

import contextlib
import dataclasses
import io
import shutil
from functools import cache
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data as photographs

from daair.data import images
from daair.data.audit.findings import AuditReport
from daair.data.audit.root import audit_root
from daair.errors import UserError


def audit(root: Path, cache: Path | None = None) -> AuditReport:
    return audit_root(root, lambda name, total: contextlib.nullcontext(Mock()), cache)


def statements(report: AuditReport) -> set[tuple[str, str, str]]:
    """Level, data set and file of every finding; a finding about the whole set has no file."""
    return {(f.level, f.dataset, file) for f in report.findings for file in f.files or ("",)}


def said(report: AuditReport, file: str) -> str:
    """Everything that is said of one file."""
    return " | ".join(str(f) for f in report.findings if file in f.files)


@cache
def crops(count: int) -> tuple[Image.Image, ...]:
    """Different coloured photographs of BSDS500's size."""
    names = ("astronaut", "coffee", "rocket", "immunohistochemistry", "hubble_deep_field", "retina", "chelsea")
    found = []
    for name in names * 2:
        whole = Image.fromarray(getattr(photographs, name)())
        half = whole.width // 2
        first = len(found) < len(names)
        part = whole.crop((0, 0, half, whole.height) if first else (half, 0, whole.width, whole.height))
        found.append(part.resize((481, 321), Image.Resampling.BICUBIC))
    return tuple(found[:count])


def darker(picture: Image.Image) -> Image.Image:
    return picture.point(lambda value: value // 4)


def save(picture: Image.Image, path: Path, **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)


@pytest.fixture(scope="module")
def faultless(tmp_path_factory) -> Path:
    """A small folder without faults, in the pack's layout."""
    root, scenes = tmp_path_factory.mktemp("faultless"), crops(12)
    for i, scene in enumerate(scenes[:5]):
        save(scene, root / f"train/clean/{i}.png")
    save(scenes[5], root / "val/clean/5.png")
    for i, scene in enumerate(scenes[6:9]):
        save(scene.resize((600, 400)), root / f"lowlight/lolv1/test/target/{i}.png")
        save(darker(scene.resize((600, 400))), root / f"lowlight/lolv1/test/input/{i}.png")
    for i, scene in enumerate(scenes[9:12]):
        save(scene, root / f"denoising/cbsd68/{i}00.png")
    return root


@pytest.fixture
def root(faultless, tmp_path) -> Path:
    """A copy of it."""
    return shutil.copytree(faultless, tmp_path, dirs_exist_ok=True)


SUBSETS = {("warning", "lolv1/test", ""), ("warning", "cbsd68/test", "")}


def test_a_folder_without_faults_has_none(root):
    report = audit(root)
    assert statements(report) == SUBSETS and report.count("error") == 0
    assert [(s.name, s.layout, s.images, s.pairs, s.official) for s in report.sets] == [
        ("clean/train", "pack", 5, None, None),
        ("clean/val", "pack", 1, None, None),
        ("cbsd68/test", "pack", 3, None, 68),
        ("lolv1/test", "pack", 3, 3, 15),
    ]
    assert [s.status for s in report.sets] == ["ok", "ok", "3 of 68, warning", "3 of 15, warning"]
    assert 5 < report.sets[-1].input_psnr["rgb"] < 20 and report.sets[-1].measured == 3


def test_a_second_look_reads_no_file_again(root, tmp_path, monkeypatch):
    from daair.data.audit import inspection

    facts = tmp_path / "facts.sqlite"
    first = audit(root, facts)
    save(crops(1)[0], root / "val/clean/new.png")
    looked = []
    inspect = inspection.inspect_file
    monkeypatch.setattr(inspection, "inspect_file", lambda path: looked.append(path.name) or inspect(path))
    second = audit(root, facts)
    assert looked == ["new.png"]
    assert statements(first) == SUBSETS and ("warning", "clean/train", "train/clean/0.png") in statements(second)


def test_pictures_of_16_bits_are_judged_like_those_of_8(root):
    before = audit(root)
    for file in (root / "lowlight/lolv1/test").rglob("*.png"):
        images.write(file, dataclasses.replace(images.read(file), bits=16))
    after = audit(root)
    assert [one.input_psnr for one in after.sets] == [pytest.approx(one.input_psnr, abs=1e-5) for one in before.sets]
    assert statements(after) == statements(before)


@pytest.mark.parametrize("damage", ["folder in its place", "not a database"])
def test_a_cache_that_cannot_be_used_is_done_without(root, tmp_path, damage):
    facts = tmp_path / "facts.sqlite"
    facts.mkdir() if damage == "folder in its place" else facts.write_text("nonsense " * 200)
    assert statements(audit(root, facts)) == SUBSETS


def test_swapped_folders_are_found_by_what_they_show(root):
    folder = root / "lowlight/lolv1/test"
    (folder / "input").rename(folder / "x")
    (folder / "target").rename(folder / "input")
    (folder / "x").rename(folder / "target")
    found = audit(root).findings
    assert any(f.level == "error" and f.dataset == "lolv1/test" and "swapped" in f.what for f in found)


def test_swapped_folders_are_found_by_their_names(tmp_path):
    for i, scene in enumerate(crops(2)):
        save(scene, tmp_path / f"deraining/rain100l/test/input/norain-{i}.png")
        save(scene, tmp_path / f"deraining/rain100l/test/target/rain-{i}.png")
    errors = [f for f in audit(tmp_path).findings if f.level == "error"]
    assert len(errors) == 1 and "swapped" in errors[0].what


def test_inputs_of_other_scenes_and_inputs_that_are_clean_are_found(root):
    folder = root / "lowlight/lolv1/test"
    shutil.copy(folder / "input/1.png", folder / "input/0.png")
    shutil.copy(folder / "target/2.png", folder / "input/2.png")
    report = audit(root)
    assert "shows another scene" in said(report, "lowlight/lolv1/test/input/0.png")
    assert "are equal" in said(report, "lowlight/lolv1/test/input/2.png")


def test_a_leak_is_found_in_other_layouts_and_through_any_pose(tmp_path):
    scenes = crops(4)
    save(ImageOps.mirror(scenes[0]), tmp_path / "data/Train/Denoise/100007.jpg", quality=70)
    save(scenes[1], tmp_path / "data/Train/Denoise/00001.bmp")
    save(scenes[2], tmp_path / "data/test/denoise/bsd68/300.png")
    for part in ("input", "target"):
        scene = scenes[0] if part == "target" else darker(scenes[0])
        save(scene.resize((200, 150)), tmp_path / f"data/test/derain/Rain100L/{part}/1.png")
    report = audit(tmp_path)
    leaks = [f for f in report.findings if "scenes of" in f.what]
    assert [(f.level, f.dataset, f.files) for f in leaks] == [
        ("error", "bsd400/train", ("data/Train/Denoise/100007.jpg",))
    ]
    assert "1 of 1 scenes of rain100l/test" in leaks[0].what and "target/1.png" in leaks[0].what
    assert {s.layout for s in report.sets} == {"promptir"}


def test_more_images_than_there_are_is_an_error_in_a_test_set_and_a_known_version_is_named(tmp_path):
    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(0, 255, (20, 20, 3), np.uint8)) for _ in range(19)]
    for i, picture in enumerate(noise):
        save(picture, tmp_path / f"denoising/mcmaster/{i}.png")
    report = audit(tmp_path)
    assert ("error", "mcmaster/test", "") in statements(report)
    assert any("19 images, but there are only 18" in f.what for f in report.findings)
    for i in range(200):
        for part in ("rain", "norain"):
            folder = "input" if part == "rain" else "target"
            save(noise[i % 19], tmp_path / f"deraining/rain100l/test/{folder}/{part}-{i}.png")
    report = audit(tmp_path)
    assert any(f.level == "error" and "200 pairs instead of 100" in f.what for f in report.findings)


@pytest.mark.parametrize(("count", "level"), [(100, "error"), (40, "warning")])
def test_another_rain_than_published_is_found_by_its_input_psnr(tmp_path, count, level):
    """Rain100L has 26.90 dB on Y; this has 14, which no chance of a subset explains."""
    rng = np.random.default_rng(0)
    for i in range(count):
        clean = rng.integers(0, 150, (20, 20, 3), dtype=np.uint8)
        save(Image.fromarray(clean), tmp_path / f"deraining/rain100l/test/target/norain-{i}.png")
        rainy = clean + rng.integers(40, 70, (20, 20, 1), dtype=np.uint8)
        save(Image.fromarray(rainy), tmp_path / f"deraining/rain100l/test/input/rain-{i}.png")
    told = [f for f in audit(tmp_path).findings if "input PSNR is 14" in f.what]
    assert [f.level for f in told] == [level] and "published are 26.90 dB (basicsr_y)" in told[0].what


def test_moceirs_training_photographs_may_be_one_of_its_two_sets(tmp_path):
    for i, scene in enumerate(crops(2)):
        save(scene, tmp_path / f"denoising/WaterlooED/0000{i + 1}.bmp")
    assert {"clean/train", "wed/train"} <= {s.name for s in audit(tmp_path).sets}


def test_grey_sets_and_mixed_versions_are_named(tmp_path):
    for i, scene in enumerate(crops(4)):
        save(scene.convert("L"), tmp_path / f"denoising/cbsd68/{i}00.png")
        save(scene.resize((500, 500) if i else (768, 512)), tmp_path / f"denoising/kodak24/kodim0{i + 1}.png")
    report = audit(tmp_path)
    text = "\n".join(map(str, report.findings))
    assert "4 of 4 images are grey" in text and "mixes versions" in text
    assert ("error", "kodak24/test", "denoising/kodak24/kodim01.png") in statements(report)


@pytest.mark.parametrize("what", ["missing", "file", "empty", "strange"])
def test_a_root_that_is_none_says_what_is_looked_for(tmp_path, what):
    root = tmp_path / "root"
    if what == "file":
        root.write_text("")
    elif what != "missing":
        root.mkdir()
        if what == "strange":
            save(crops(1)[0], root / "pictures/1.png")
    with pytest.raises(UserError, match="^root: .*root") as error:
        audit(root)
    if what in ("empty", "strange"):
        assert all(word in str(error.value) for word in ("train/clean", "Train/Derain", "MoCE-IR"))


def test_what_is_not_there_and_what_was_not_looked_at_is_listed(root):
    save(crops(1)[0], root / "deraining/rain100l/tset/input/rain-1.png")
    for part in ("haze", "clear"):  # no substitute for the pairs of RESIDE
        save(crops(1)[0], root / f"cdd11/train/{part}/1.png")
    (root / "loop").symlink_to(root, target_is_directory=True)
    report = audit(root)
    assert report.others == {"deraining/rain100l/tset/input": 1}
    assert "rain100l/test" in report.absent and "cbsd68/test" not in report.absent
    assert report.without_pairs == ["rain", "haze", "snow", "blur", "lowlight"]


def test_an_empty_folder_of_a_known_set_is_an_error(root):
    shutil.rmtree(root / "val/clean")
    (root / "val/clean").mkdir()
    assert ("error", "clean/val", "") in statements(audit(root))


# The data pack -------------------------------------------------------------------------------------------------------


def test_the_pack_is_what_its_readme_says(data_root):
    report = audit(data_root)
    assert report.count("error") == 0
    assert {s.name: s.count for s in report.sets} == {
        "clean/train": 333,
        "clean/val": 32,
        "cbsd68/test": 34,
        "kodak24/test": 12,
        "mcmaster/test": 9,
        "rain100l/test": 50,
        "rain100h/train": 6,
        "sots_outdoor/test": 1,
        "lolv1/train": 4,
        "lolv1/test": 1,
    }
    psnr = {s.name: (round(s.input_psnr["rgb"], 2), round(s.input_psnr["y"], 2)) for s in report.sets if s.pairs}
    assert psnr == {
        "rain100l/test": (25.37, 26.73),
        "rain100h/train": (14.96, 16.30),
        "sots_outdoor/test": (16.13, 17.75),
        "lolv1/train": (6.99, 8.37),
        "lolv1/test": (10.89, 12.55),
    }
    subsets = {f.dataset for f in report.findings if "a subset" in f.what}
    assert subsets == {s.name for s in report.sets if not s.name.startswith("clean/")}
    # Nothing else but scenes that the published sets repeat, and which Kodak24 it is: training leaks into no test set.
    others = {(f.level, f.dataset, len(f.files)) for f in report.findings if "a subset" not in f.what}
    assert others == {("warning", "rain100l/test", 4), ("warning", "lolv1/train", 1), ("note", "kodak24/test", 0)}
    assert any("500x500" in f.what for f in report.findings if f.dataset == "kodak24/test")
    # "No GoPro pairs, no RESIDE/OTS training pairs and no RainTrainL pairs are in the pack."
    assert {"gopro/train", "gopro/test", "ots/train", "rain100l/train"} < set(report.absent)
    assert report.without_pairs == ["haze", "snow", "blur"]
    assert report.others == {"unpaired/deblurring": 4, "unpaired/dehazing": 6, "unpaired/lowlight": 5}
    sizes = {s.name: set(s.sizes) for s in report.sets}
    assert sizes["clean/train"] == {"481x321", "321x481"} and sizes["lolv1/test"] == {"600x400"}


def linked_copy(data_root: Path, root: Path) -> Path:
    """The pack's folders with links to its files."""
    for file in data_root.rglob("*"):
        if file.is_file() and "unpaired" not in file.parts:
            link = root / file.relative_to(data_root)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(file)
    return root


def replace(path: Path, data: bytes | Image.Image) -> None:
    path.unlink(missing_ok=True)
    data.save(path) if isinstance(data, Image.Image) else path.write_bytes(data)


def jpeg(picture: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


FAULTS = {
    # file: (level, data set, words)
    "deraining/rain100l/test/input/rain-011.png": ("error", "rain100l/test", "truncated"),
    "denoising/cbsd68/101085.png": ("error", "cbsd68/test", "not a readable"),
    "denoising/mcmaster/1.tif": ("error", "mcmaster/test", "empty"),
    "deraining/rain100l/test/input/rain-007.png": ("error", "rain100l/test", "no clean image"),
    "deraining/rain100l/test/input/rain-009.png": ("error", "rain100l/test", "differ in size"),
    "train/clean/leak.jpg": ("error", "clean/train", "of rain100l/test"),
    "train/clean/mirror.png": ("error", "clean/train", "of cbsd68/test"),
    "train/clean/copy.jpg": ("warning", "clean/train", "is identical to"),
    "train/clean/again.jpg": ("warning", "clean/train", "shows the scene"),
    "denoising/cbsd68/102061.png": ("warning", "cbsd68/test", "grey"),
    "denoising/kodak24/kodim01.png": ("error", "kodak24/test", "another version"),
    "train/clean/small.png": ("warning", "clean/train", "only 16x16"),
    "val/clean/seen.jpg": ("warning", "clean/train", "of clean/val"),
}


def plant(root: Path) -> None:
    """Each of the faults."""
    rain, clean = root / "deraining/rain100l/test", root / "train/clean"
    replace(rain / "input/rain-011.png", (rain / "input/rain-011.png").read_bytes()[:100_000])
    replace(root / "denoising/cbsd68/101085.png", b"see the other folder\n")
    replace(root / "denoising/mcmaster/1.tif", b"")
    (rain / "target/norain-007.png").unlink()
    replace(rain / "input/rain-009.png", Image.open(rain / "input/rain-009.png").crop((0, 0, 480, 320)))
    replace(clean / "leak.jpg", jpeg(Image.open(rain / "target/norain-001.png"), 75))
    mirror = ImageOps.mirror(Image.open(root / "denoising/cbsd68/105025.png"))
    replace(clean / "mirror.png", mirror.resize((400, 267), Image.Resampling.BICUBIC))
    replace(clean / "copy.jpg", (clean / "100007.jpg").read_bytes())
    replace(clean / "again.jpg", jpeg(Image.open(clean / "100039.jpg"), 60))
    grey = root / "denoising/cbsd68/102061.png"
    replace(grey, Image.open(grey).convert("L").convert("RGB"))
    replace(
        root / "denoising/kodak24/kodim01.png", Image.open(root / "denoising/kodak24/kodim01.png").resize((384, 256))
    )
    replace(clean / "small.png", Image.fromarray(photographs.rocket()).resize((16, 16)))
    replace(root / "val/clean/seen.jpg", jpeg(Image.open(clean / "15088.jpg"), 90))


def test_all_planted_faults_are_found_and_no_others(data_root, tmp_path):
    root, facts = linked_copy(data_root, tmp_path / "pack"), tmp_path / "facts.sqlite"
    before = statements(audit(root, facts))
    plant(root)
    lowlight = root / "lowlight/lolv1/train"
    (lowlight / "input").rename(lowlight / "x")
    (lowlight / "target").rename(lowlight / "input")
    (lowlight / "x").rename(lowlight / "target")
    report = audit(root, facts)
    for file, (level, dataset, words) in FAULTS.items():
        shown = "train/clean/15088.jpg" if file == "val/clean/seen.jpg" else file
        told = [f for f in report.findings if (f.level, f.dataset) == (level, dataset) and shown in f.files]
        assert any(words in str(finding) for finding in told), (file, said(report, shown))
    assert any(f.level == "error" and f.dataset == "lolv1/train" and "swapped" in f.what for f in report.findings)
    new = {(level, dataset, file) for level, dataset, file in statements(report) - before if "lolv1" not in dataset}
    expected = {(level, dataset, file) for file, (level, dataset, _) in FAULTS.items()}
    expected -= {("warning", "clean/train", "val/clean/seen.jpg")}
    assert new == expected | {("warning", "clean/train", "train/clean/15088.jpg")}
