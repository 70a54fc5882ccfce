"""The memory that is free within all limits, and the tiles that it suffices for."""

import math
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from daair.engine.inference import AMPLE, RESULT, Restorer
from daair.engine.memory import allowed_by_control_groups, bytes_per_pixel, free_bytes, tile_for

GB = 10**9


def group(folder: Path, names: tuple[str, str, str], limit: object, used: int, cache: int) -> None:
    """Write what the kernel tells of a control group."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names[:2], (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cache}\nslab 7\n")


VERSIONS = {
    "v2": ("0::/batch/job 7\n", "", ("memory.max", "memory.current", "inactive_file")),
    "v1": (
        "4:cpu,memory:/batch/job 7\n1:name=systemd:/x\n0::/\n",
        "memory",
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_tightest_limit_of_the_control_groups_counts(tmp_path, version):
    """What only caches files can be given back; the limit of the group above may be lower than one's own."""
    told, folder, names = VERSIONS[version]
    own, groups = tmp_path / "cgroup", tmp_path / "groups"
    own.write_text(told)
    group(groups / folder / "batch" / "job 7", names, 8 * GB, 3 * GB, GB)
    assert allowed_by_control_groups(own, groups) == 6 * GB
    group(groups / folder / "batch", names, 4 * GB, 3 * GB, GB)
    assert allowed_by_control_groups(own, groups) == 2 * GB
    group(groups / folder / "batch", names, "max", 3 * GB, GB)
    group(groups / folder / "batch" / "job 7", names, GB, 3 * GB, GB)
    assert allowed_by_control_groups(own, groups) == 0


def test_without_control_groups_there_is_no_limit(tmp_path):
    assert allowed_by_control_groups(tmp_path / "cgroup", tmp_path) == math.inf
    (tmp_path / "cgroup").write_text("0::/\n")
    assert allowed_by_control_groups(tmp_path / "cgroup", tmp_path) == math.inf


def test_processes_share_the_free_memory(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 3000})())
    monkeypatch.setattr("daair.engine.memory.allowed_by_control_groups", lambda: 2000)
    assert free_bytes(torch.device("cpu")) == 2000 and free_bytes(torch.device("cpu"), 4) == 500


def test_the_cost_of_a_pixel_is_that_of_its_allocations():
    class Doubling(nn.Module):
        def forward(self, x):
            return (x + 1) * 2  # two images of float32 at a time

    assert bytes_per_pixel(Doubling(), torch.device("cpu")) == pytest.approx(24, abs=1)
    assert bytes_per_pixel(nn.Linear(7, 7), torch.device("cpu")) == 0, "it cannot take an image"


@pytest.mark.parametrize(
    ("free", "tile"),
    [
        (2000 * GB, 0),  # 200 megapixels x 4,000 bytes are 800 GB, half of the free memory after the result
        (40 * GB, 2048),
        (20 * GB, 1024),
        (8 * GB, 512),
        (4 * GB, 64),  # the result alone takes 4.8 GB
    ],
)
def test_a_panorama_goes_in_tiles_within_the_free_memory(monkeypatch, free, tile):
    """The arithmetic of 20,000 x 10,000 pixels, without them."""
    monkeypatch.setattr("daair.engine.inference.bytes_per_pixel", lambda *_: 4000.0)
    restorer = Restorer(nn.Identity(), torch.device("cpu"), "auto", 32, print)
    pixels = restorer.affordable(0.5 * (free - RESULT * 20_000 * 10_000))
    assert tile_for(10_000, 20_000, pixels) == tile
    assert tile in (0, 64) or tile**2 * 4000 <= 0.5 * (free - RESULT * 2e8)


def test_a_small_picture_is_not_preceded_by_an_estimate(monkeypatch):
    """It takes longer than the picture."""
    free = {"bytes": 10**9}
    monkeypatch.setattr("daair.engine.inference.free_bytes", lambda *_: free["bytes"])
    estimates = []
    monkeypatch.setattr("daair.engine.inference.bytes_per_pixel", lambda *_: estimates.append(1) or 100.0)
    restorer, image = Restorer(nn.Conv2d(3, 3, 1), torch.device("cpu"), "auto", 32, print), torch.rand(1, 3, 90, 100)
    assert restorer(image, None, "a")[1] == 0 and not estimates
    free["bytes"] = 2 * AMPLE * 90 * 100
    assert restorer(image, None, "a")[1] == 0 and estimates
