"""Sample pictures: what is written comes back, and other files are no samples."""

from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from daair.runs import samples
from daair.runs.record import Record
from daair.runs.samples import Sample


def make(benchmark: str, which: str, height: int = 5, width: int = 4) -> Sample:
    rng = np.random.default_rng(0)
    strip = rng.integers(0, 255, (height, 3 * width, 3), dtype=np.uint8)
    return Sample(benchmark, "promptir", "naïve image.png", which, 20.25, float("inf"), strip, left=3, top=2)


def test_a_written_sample_comes_back(tmp_path: Path) -> None:
    record = Record(tmp_path)
    for which in samples.WHICH:
        sample = make("mine/of:mine", which)
        samples.write(record.sample_file(sample.benchmark, which), sample)
    largest, shown, smallest = samples.find(record.samples)
    assert (largest.which, shown.which, smallest.which) == ("largest", "shown", "smallest")
    assert (largest.left, largest.top) == (3, 2)
    assert (largest.benchmark, largest.image, largest.gain) == ("mine/of:mine", "naïve image.png", float("inf"))
    np.testing.assert_array_equal(largest.strip, sample.strip)
    np.testing.assert_array_equal(np.concatenate(largest.pictures, axis=1), sample.strip)


def test_a_sample_of_an_earlier_version_has_no_place(tmp_path: Path) -> None:
    samples.write(tmp_path / "a" / "new.png", make("a", "largest"))
    with Image.open(tmp_path / "a" / "new.png") as picture:
        info = PngImagePlugin.PngInfo()
        for name, text in picture.info.items():
            if name not in ("left", "top"):
                info.add_itxt(name, text)
        picture.save(tmp_path / "a" / "old.png", pnginfo=info)
    assert [(sample.left, sample.top) for sample in samples.find(tmp_path)] == [(3, 2), (0, 0)]


def test_other_pictures_and_damaged_files_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "samples" / "a"
    folder.mkdir(parents=True)
    Image.new("RGB", (9, 3)).save(folder / "foreign.png")
    (folder / "text.png").write_text("no picture")
    samples.write(folder / "whole.png", make("a", "largest", 64, 64))
    whole = (folder / "whole.png").read_bytes()
    (folder / "torn.png").write_bytes(whole[: len(whole) // 2])
    assert [sample.benchmark for sample in samples.find(folder.parent)] == ["a"]


def test_a_strip_is_cut_from_the_middle() -> None:
    clean = np.arange(6 * 9 * 3, dtype=np.uint8).reshape(6, 9, 3)
    strip = samples.side_by_side(clean, clean / 255, clean, side=4)
    middle = clean[1:5, 2:6]
    np.testing.assert_array_equal(strip, np.concatenate([middle] * 3, axis=1))
    noisy = np.where(clean > 80, np.float32(1.7), np.float32(-0.2))  # as noise that was not clipped
    shown = samples.side_by_side(noisy, clean / 255, clean, side=4)[:, :4]
    np.testing.assert_array_equal(shown, np.where(middle > 80, 255, 0))
    assert samples.side_by_side(clean, clean / 255, clean, side=100).shape == (6, 27, 3)
