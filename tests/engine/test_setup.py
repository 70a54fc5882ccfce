"""What a run is told that goes on with another number of processes."""

from types import SimpleNamespace

import pytest
from torch import nn

from daair.engine.setup import change_of_processes


@pytest.mark.parametrize(
    ("before", "scope", "network", "text"),
    [
        (None, "local", nn.BatchNorm2d(1), None),
        (4, "local", nn.BatchNorm2d(1), None),
        (2, "global", nn.ReLU(), "; nothing else changes"),
        (2, "global", nn.Sequential(nn.BatchNorm1d(1)), "; a batch norm of the network sees fewer images"),
        (2, "local", nn.ReLU(), "; scope=local now balances 8 instead of 16 images at a time, another loss"),
    ],
)
def test_change_of_processes(before: int | None, scope: str, network: nn.Module, text: str | None) -> None:
    cfg = SimpleNamespace(train=SimpleNamespace(batch_size=32), model={}, parts={"router": {"scope": scope}, "x": {}})
    line = change_of_processes(before, cfg, 4, network)
    assert line is None if text is None else line.startswith("warning: 2 processes trained") and text in line
