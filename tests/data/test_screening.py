"""The check of images before training: which of them the cache is offered first."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from daair.data import decoded as module
from daair.data.decoded import Decoded
from daair.data.images import read_rgb
from daair.data.screening import Screen
from daair.data.task_images import TaskImages

SIZE = 8 * 8 * 3  # bytes of a decoded picture


def pictures(folder: Path, suffix: str, count: int = 4) -> TaskImages:
    folder.mkdir()
    files = [folder / f"{i}{suffix}" for i in range(count)]
    for file in files:
        Image.fromarray(np.full((8, 8, 3), 128, np.uint8)).save(file)
    return TaskImages([file.name for file in files], [(file,) for file in files], str(folder))


def decoded_again(tasks: list[tuple[TaskImages, float]], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the folders whose files a cache with room for four of them does not keep."""
    cache = Decoded(limit=4 * SIZE)
    Screen(cache, skip=False).decode(tasks)
    reads: list[Path] = []
    monkeypatch.setattr(module, "read_rgb", lambda file: reads.append(file) or read_rgb(file))
    for images, _ in tasks:
        for (file,) in images.pictures:
            cache.read(file)
    return {file.parent.name for file in reads}


def test_a_full_cache_keeps_what_costs_most_to_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [(pictures(tmp_path / "jpeg", ".jpg"), 1.0), (pictures(tmp_path / "png", ".png"), 1.0)]
    assert decoded_again(tasks, monkeypatch) == {"jpeg"}


def test_a_full_cache_keeps_what_is_used_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = [(pictures(tmp_path / "once", ".png"), 1.0), (pictures(tmp_path / "often", ".png"), 5.0)]
    assert decoded_again(tasks, monkeypatch) == {"once"}


def test_the_uses_of_a_list_that_tasks_share_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = pictures(tmp_path / "shared", ".png")
    tasks = [(pictures(tmp_path / "one", ".png"), 3.0), (shared, 2.0), (shared, 2.0)]
    assert decoded_again(tasks, monkeypatch) == {"one"}
