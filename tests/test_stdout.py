"""Standard output whose reader is gone."""

import os
from pathlib import Path

import pytest

from daair.stdout import Lasting, duration


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


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.9, "59 s"), (61, "1 min"), (3700, "1 h 01 min"), (90000, "1 d 1 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
