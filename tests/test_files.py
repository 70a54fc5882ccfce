"""Names that every file system takes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daair.files import LONGEST, safe_name


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
