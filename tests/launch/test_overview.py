"""The page over all studies that a sweep keeps up to date."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from daair.launch import overview
from daair.launch.overview import EVERY, SHARE, Overview
from daair.report import index


def jobs(*folders: str) -> list[SimpleNamespace]:
    return [SimpleNamespace(config=SimpleNamespace(paths=SimpleNamespace(runs=folder))) for folder in folders]


def test_a_page_is_written_in_each_folder_at_intervals_that_cost_little(monkeypatch: pytest.MonkeyPatch) -> None:
    now, took, written = [100.0], [0.0], []

    def write(folder: str, every: float | None) -> None:
        assert every == EVERY
        written.append(folder)
        now[0] += took[0]

    monkeypatch.setattr(overview, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(index, "write", write)
    pages = Overview(jobs("b", "a", "a"))

    def at(moment: float) -> list[str]:
        now[0], written[:] = moment, []
        pages.look()
        return list(written)

    assert at(100.0) == ["a", "b"] and at(100.0 + EVERY - 1) == []
    took[0] = 5.0
    assert at(100.0 + EVERY) == ["a", "b"]
    ended = 100.0 + EVERY + 10.0
    assert at(ended + 10.0 / SHARE - 1) == [] and at(ended + 10.0 / SHARE) == ["a", "b"]


def test_a_page_that_cannot_be_written_does_not_end_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = tmp_path / "runs"
    good.mkdir()

    def write(folder: str, every: float | None) -> None:
        assert every is None, "a browser would load the page again for ever"
        if folder != str(good):
            raise OSError(28, "No space left on device")
        (good / "index.html").write_text("")

    monkeypatch.setattr(index, "write", write)
    Overview(jobs(str(tmp_path / "full"), str(good))).write()
    assert (good / "index.html").is_file()
    monkeypatch.setitem(sys.modules, "daair.report.index", None)  # its import fails
    monkeypatch.delattr("daair.report.index", raising=False)
    Overview(jobs(str(good))).look()
