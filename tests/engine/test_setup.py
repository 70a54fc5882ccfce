"""What a run is told that goes on with another number of processes."""

from types import SimpleNamespace

import pytest

from daair.engine.setup import change_of_processes


@pytest.mark.parametrize(
    ("before", "scope", "text"),
    [
        (None, "local", None),
        (4, "local", None),
        (2, "global", "rounded differently; nothing else changes"),
        (2, "local", "rounded differently; scope=local now balances 8 instead of 16 images at a time, another loss"),
    ],
)
def test_change_of_processes(before: int | None, scope: str, text: str | None) -> None:
    cfg = SimpleNamespace(train=SimpleNamespace(batch_size=32), model={}, parts={"router": {"scope": scope}, "x": {}})
    line = change_of_processes(before, cfg, 4)
    assert line is None if text is None else line.startswith("warning: 2 processes trained") and line.endswith(text)
