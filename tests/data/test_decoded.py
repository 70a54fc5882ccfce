"""Decoded pictures: once for all runs and processes, the same pixels in every way of keeping them."""

import json
import multiprocessing
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daair.data import decoded as module
from daair.data.decoded import Decoded
from daair.data.images import read_rgb


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Seven pictures of different sizes in three chunks."""
    monkeypatch.setattr(module, "CHUNK", 3)
    (tmp_path / "in").mkdir()
    for i in range(7):
        pixels = np.random.default_rng(i).integers(0, 256, (10 + i, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{i}.png")
    return sorted((tmp_path / "in").iterdir())


def count_reads(monkeypatch):
    """A list that grows with each file that is decoded."""
    reads = []
    monkeypatch.setattr(module, "read_rgb", lambda file: reads.append(file) or read_rgb(file))
    return reads


def filled(files, *arguments, **more):
    decoded = Decoded(*arguments, **more)
    decoded.fill(files)
    return decoded


def check(decoded, files):
    for file in files:
        image = decoded.read(file)
        assert np.array_equal(image, read_rgb(file)) and decoded.shape(file) == image.shape[:2]


@pytest.mark.parametrize("limit", [1e9, 2000, 0])
@pytest.mark.parametrize("on_disk", [True, False])
def test_same_pixels_within_and_beyond_the_limit(files, tmp_path, monkeypatch, on_disk, limit):
    reads = count_reads(monkeypatch)
    decoded = filled(files, tmp_path / "cache" if on_disk else None, limit=limit)
    assert sorted(reads) == files
    reads.clear()
    check(decoded, files)
    assert len(reads) == {1e9: 0, 2000: 4, 0: 7}[limit]  # chunks have 1980, 2520 and 960 bytes
    check(pickle.loads(pickle.dumps(decoded)), files)


@pytest.mark.parametrize("on_disk", [True, False])
def test_pictures_of_16_bits_beside_those_of_8(tmp_path, on_disk):
    """Of odd sizes: floats begin where the processor wants them, whatever lies before."""
    for i, kind in enumerate((np.uint8, np.uint16, np.uint8, np.uint16)):
        pixels = np.random.default_rng(i).integers(0, np.iinfo(kind).max, (7, 5 + 2 * i), dtype=kind)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    files = sorted(tmp_path.glob("*.png"))
    for _ in range(2):  # decoded, then from the folder
        decoded = filled(files, tmp_path / "cache" if on_disk else None)
        check(decoded, files)
        kinds = [decoded.read(file).dtype for file in files]
        assert kinds == [np.uint8, np.float32] * 2 and all(decoded.read(file).flags.aligned for file in files)


def test_a_second_run_decodes_nothing(files, tmp_path, monkeypatch):
    filled(files, tmp_path / "cache")
    reads = count_reads(monkeypatch)
    decoded = filled(files, tmp_path / "cache")
    check(decoded, files)
    assert not reads and not decoded.read(files[0]).flags.writeable
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "in")
    check(filled([link / file.name for file in files], tmp_path / "cache"), files[:0])
    assert not reads


def test_a_changed_file_is_decoded_anew(files, tmp_path, monkeypatch):
    filled(files, tmp_path / "cache")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(files[4])
    reads = count_reads(monkeypatch)
    check(filled(files, tmp_path / "cache"), files)
    assert reads == files[3:6]  # its chunk


def test_torn_and_foreign_files_in_the_folder(files, tmp_path):
    filled(files, tmp_path / "cache")
    pixels = sorted((tmp_path / "cache").glob("*.rgb"))
    pixels[0].write_bytes(pixels[0].read_bytes()[:-1])
    pixels[1].unlink()
    for index, text in zip(sorted((tmp_path / "cache").glob("*.json")), ("{", "[[1]]", "7"), strict=True):
        index.write_text(text)
    check(filled(files, tmp_path / "cache"), files)


def test_a_larger_limit_keeps_more(files, tmp_path, monkeypatch):
    filled(files, tmp_path / "cache", limit=4000)
    assert len(list((tmp_path / "cache").glob("*.rgb"))) == 2
    reads = count_reads(monkeypatch)
    check(filled(files, tmp_path / "cache", limit=1e9), files)
    assert len(list((tmp_path / "cache").glob("*.rgb"))) == 3 and reads == files[3:6]


def test_a_folder_that_cannot_be_written(files, tmp_path):
    (tmp_path / "file").write_text("in the way")
    check(filled(files, tmp_path / "file" / "cache"), files)


def test_unreadable_files_are_noted_and_asked_for_again(files, tmp_path, monkeypatch):
    content = files[1].read_bytes()
    files[1].write_bytes(content[:60])
    decoded = filled(files, tmp_path / "cache")
    assert list(decoded.errors) == [files[1]] and "truncated" in decoded.errors[files[1]]
    check(decoded, [files[0], files[2]])
    reads = count_reads(monkeypatch)
    assert list(filled(files, tmp_path / "cache").errors) == [files[1]]
    assert reads == files[:3]


def test_advances_once_for_each_file(files, tmp_path):
    for _ in range(2):
        steps = []
        Decoded(tmp_path / "cache").fill(files * 2, lambda steps=steps: steps.append(1))
        assert len(steps) == len(files)


def decode_and_count(files: list[Path], folder: Path, start, results) -> None:
    reads = []
    module.CHUNK = 3
    module.read_rgb = lambda file: reads.append(file) or read_rgb(file)
    start.wait()
    decoded = filled(files, folder)
    results.put((len(reads), [int(decoded.read(file).sum()) for file in files]))


def test_processes_share_the_work(files, tmp_path):
    """Three at once: each gets every picture, and hardly any is decoded twice."""
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    arguments = (files, tmp_path / "cache", start, results)
    workers = [context.Process(target=decode_and_count, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    start.set()
    counts, sums = zip(*(results.get(timeout=60) for _ in workers), strict=True)
    for worker in workers:
        worker.join(60)
    assert sums[0] == sums[1] == sums[2] == [int(read_rgb(file).sum()) for file in files]
    assert len(files) <= sum(counts) <= 2 * len(files)
    names = os.listdir(tmp_path / "cache")
    assert len([name for name in names if name.endswith(".json")]) == 3
    assert all(json.loads(file.read_text()) for file in (tmp_path / "cache").glob("*.json"))
