"""Standard output whose reader is gone."""

import os
from pathlib import Path

import pytest

from daair.stdout import Lasting


def test_what_nobody_reads_is_dropped() -> None:
    reading, writing = os.pipe()
    stream = os.fdopen(writing, "w", buffering=1)
    lasting = Lasting(stream)
    assert lasting.write("seen\n") == 5
    assert os.read(reading, 100) == b"seen\n"
    os.close(reading)
    for _ in range(3):
        assert lasting.write("lost\n") == 5
        lasting.flush()
    stream.write("by somebody else\n")  # libraries print too
    stream.close()


def test_everything_else_is_the_streams_own(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as stream:
        lasting = Lasting(stream)
        assert lasting.isatty() is False and lasting.fileno() == stream.fileno()
    with pytest.raises(ValueError, match="closed file"):
        lasting.write("a")


def test_default_is_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    Lasting().write("a line\n")
    assert capsys.readouterr().out == "a line\n"
