"""Names that every file system takes, and the order of names with numbers."""

import os
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from daair import files
from daair.errors import UserError
from daair.files import LONGEST, natural_key, safe_name


@given(st.text() | st.text("雨é", min_size=60) | st.sampled_from(["con", "Aux.b", "lpt9.", "nul.nul"]))
@example(":0" + "¹" * 14 + "୯" * 80)  # the digits after it must fit into the bytes too
@example("con." + "x" * (LONGEST - 4))
def test_a_safe_name_is_one_on_every_file_system(text: str) -> None:
    name = safe_name(text)
    assert re.fullmatch(r"[\w.-]+", name) and len(name) <= LONGEST and len(name.encode()) < 220
    assert name[0] not in ".-" and name[-1] not in ".-"
    assert name.partition(".")[0].lower() not in {"con", "prn", "aux", "nul", "com1", "lpt9"}
    assert safe_name(name) == name


@pytest.mark.parametrize(
    ("text", "name"),
    [("rank8-router_top1", "rank8-router_top1"), ("a/b\\c:d", "a-b-c-d-"), ("CON", "CON_-"), ("nul.txt", "nul_.txt-"),
     ("..", "unnamed-"), ("../../x", "x-"), ("ü", "ü"), ("去雨", "去雨"), ("x" * 200, "x" * (LONGEST - 7) + "-"),
     ("console", "console")],
)  # fmt: skip
def test_safe_names(text: str, name: str) -> None:
    assert safe_name(text).startswith(name) and (safe_name(text) == text or len(safe_name(text)) >= len(name))


@given(st.lists(st.text("ab /-.é雨", min_size=1) | st.text(min_size=1), min_size=2, max_size=2))
def test_different_names_never_share_a_folder(texts: list[str]) -> None:
    first, second = (unicodedata.normalize("NFC", text) for text in texts)
    assert (safe_name(texts[0]) == safe_name(texts[1])) == (first == second)


def test_names_that_look_equal_are_equal() -> None:
    assert safe_name("e\u0301te") == safe_name("\u00e9te") == "\u00e9te"
    assert len({safe_name(text) for text in ("a b", "a-b", "a  b", "a/b", "a-b-", "x" * 81, "x" * 82)}) == 7


def test_natural_key():
    names = ["rain-10.png", "rain-2.png", "rain-002.png", "Rain-1.png", "1.png", "a1b20", "a1b3", "10", "²"]
    ordered = sorted(names, key=natural_key)
    assert ordered.index("rain-2.png") < ordered.index("rain-10.png")
    assert ordered.index("a1b3") < ordered.index("a1b20") and ordered.index("1.png") < ordered.index("10")
    assert ordered == sorted(reversed(names), key=natural_key)


def test_natural_key_sorts_numbers_as_numbers() -> None:
    names = ["rank16", "Rank4", "rank4", "10", "9b", "a", "a0", ""]
    assert sorted(names, key=natural_key) == ["", "9b", "10", "a", "a0", "Rank4", "rank4", "rank16"]


def test_a_place_is_looked_at_and_not_touched(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "new" / "deep", tmp_path / "file"):
        files.check_writable(place, "output")
    with pytest.raises(UserError, match=r"^output: .*/file/x: cannot be written \(.*/file is a file\)"):
        files.check_writable(tmp_path / "file" / "x", "output")
    with pytest.raises(UserError, match=r"^paths.runs: .*/file: cannot be written \(.*/file is a file\)"):
        files.check_writable(tmp_path / "file", "paths.runs", folder=True)
    assert os.listdir(tmp_path) == ["file"]
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"^output: .*/link: cannot be written \(a link to what does not exist\)"):
        files.check_writable(tmp_path / "link", "output")

    def refuse(dir):
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", refuse)
    with pytest.raises(UserError, match=r"^paths.runs: .*new: cannot be written \(Permission denied\)"):
        files.check_writable(tmp_path / "new", "paths.runs")
