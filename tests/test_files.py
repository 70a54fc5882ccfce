"""Names that every file system takes, and the order of names with numbers."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daair.files import LONGEST, natural_key, safe_name


@given(st.text() | st.sampled_from(["con", "Aux.b", "lpt9.", "nul.nul"]))
def test_a_safe_name_is_one_on_every_file_system(text: str) -> None:
    name = safe_name(text)
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name) and len(name) <= LONGEST + 1
    assert name[0] not in ".-" and name[-1] not in ".-"
    assert name.partition(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [("rank8-router_top1", "rank8-router_top1"), ("a/b\\c:d", "a-b-c-d"), ("CON", "CON_"), ("nul.txt", "nul_.txt"),
     ("..", "unnamed"), ("ü", "unnamed"), ("x" * 200, "x" * LONGEST), ("console", "console")],
)  # fmt: skip
def test_safe_names(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_natural_key():
    names = ["rain-10.png", "rain-2.png", "rain-002.png", "Rain-1.png", "1.png", "a1b20", "a1b3", "10", "²"]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("rain-2.png") < ordered.index("rain-10.png")
    assert ordered.index("a1b3") < ordered.index("a1b20") and ordered.index("1.png") < ordered.index("10")
    assert ordered == sorted(reversed(names), key=natural_key)


def test_natural_key_sorts_numbers_as_numbers() -> None:
    names = ["rank16", "Rank4", "rank4", "10", "9b", "a", "a0", ""]
    assert sorted(names, key=natural_key) == ["", "9b", "10", "a", "a0", "Rank4", "rank4", "rank16"]
