"""LPIPS and DISTS: only where their weights are, and a clear line where not."""

from pathlib import Path

import pytest
import torch

from daair.errors import UserError
from daair.metrics import METRICS
from daair.metrics.perceptual import PiqNetwork

NETWORKS = [metric.network for metric in METRICS.values() if metric.network]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of torch.hub; a download would fail loudly."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def refuse(url: str, *_: object, **__: object) -> None:
        raise AssertionError(f"downloads {url}")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_the_line_names_the_missing_files_and_their_place(network: PiqNetwork, hub: Path) -> None:
    name, line = network.name, network.missing()
    assert line.startswith(f"{name}: not measured, since {hub} lacks ") and "\n" not in line
    assert f"{name}_weights.pt" in line and "vgg16-" in line and "nothing is downloaded" in line
    with pytest.raises(UserError, match=f"{name}: not measured"):
        network.load()


def test_only_missing_files_are_named(hub: Path) -> None:
    (hub / "lpips_weights.pt").write_bytes(b"")
    line = METRICS["lpips"].missing()
    assert "vgg16-" in line and "lpips_weights" not in line


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_damaged_weights_are_reported(network: PiqNetwork, hub: Path) -> None:
    for file in network.files():
        (hub / file).write_bytes(b"damaged")
    assert network.missing() is None
    with pytest.raises(UserError, match=f"{network.name}: weights in {hub} cannot be loaded .*replace them"):
        network.load()
