"""Versions of the user's own code."""

import sys
from pathlib import Path

import pytest

from daair.runs import own_code as module
from daair.runs.own_code import changed, joined, noted, own_code
from daair.runs.record import Record


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The digest of a class of somebody's module or package `theirs`, as a new process finds it."""
    monkeypatch.syspath_prepend(tmp_path)

    def digest() -> dict[str, str]:
        module._digest.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == "theirs"]:
            monkeypatch.delitem(sys.modules, name)
        return own_code({"model": {"_target_": "theirs.Net", "router": {"_target_": "theirs.Router"}}})

    yield digest
    module._digest.cache_clear()


CLASSES = "class Net: ...\nclass Router: ...\n"


def test_an_edited_module_has_another_digest(tmp_path, digest_of):
    file = tmp_path / "theirs.py"
    file.write_text(CLASSES)
    before = digest_of()
    assert set(before) == {"theirs"} and digest_of() == before
    file.write_text(CLASSES + "# edited\n")
    assert digest_of() != before


@pytest.mark.parametrize("first", ["__init__.py", "nets.py"])
def test_all_files_of_a_package_count_and_nothing_else(tmp_path, digest_of, first):
    """Also of one without `__init__.py`."""
    (tmp_path / "theirs" / "parts").mkdir(parents=True)
    (tmp_path / "theirs" / first).write_text(CLASSES)
    helper = tmp_path / "theirs" / "parts" / "helper.py"
    helper.write_text("x = 1\n")
    before = digest_of()
    assert set(before) == {"theirs"}
    (tmp_path / "theirs" / "notes.txt").write_text("of no meaning")
    (tmp_path / "theirs" / ".venv").mkdir()
    (tmp_path / "theirs" / ".venv" / "other.py").write_text("of no meaning")
    assert digest_of() == before
    (tmp_path / "theirs" / "gone.py").symlink_to(tmp_path / "nowhere.py")  # cannot be read
    assert len(digest_of()["theirs"]) == 8
    (tmp_path / "theirs" / "gone.py").unlink()
    (tmp_path / "theirs" / ".#nets.py").symlink_to("someone@machine.1234")  # an editor's lock
    assert digest_of() == before
    helper.write_text("x = 2\n")
    edited = digest_of()
    assert edited != before
    helper.rename(helper.with_name("other.py"))
    assert digest_of() not in (before, edited)


def test_this_project_and_installed_packages_have_no_digest(tmp_path, monkeypatch):
    """Those of another environment neither: its site-packages may be on PYTHONPATH."""
    parts = [
        "daair.models.daair.DaAIR",
        "torch.nn.Identity",
        "torch.optim.AdamW",
        "collections.Counter",
        "elsewhere.Net",
    ]
    (tmp_path / "dist-packages").mkdir()
    (tmp_path / "dist-packages" / "elsewhere.py").write_text(CLASSES)
    monkeypatch.syspath_prepend(tmp_path / "dist-packages")
    assert own_code({"parts": [{"_target_": part} for part in parts]}) == {}


def test_nothing_is_imported(tmp_path, digest_of):
    """A stored config may name code that nobody has trusted."""
    (tmp_path / "theirs.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n{CLASSES}")
    assert set(digest_of()) == {"theirs"} and not (tmp_path / "owned").exists()


def test_only_a_digest_that_was_noted_can_have_changed(tmp_path):
    now, record = {"a": "11111111", "b": "22222222"}, Record(tmp_path)
    cases = [
        ('{"own_code": {"a": "11111111", "b": "33333333", "c": "44444444"}}', ["b"]),
        ('{"own_code": {"a": "11111111"}}', []),
        ('{"own_code": ["a"]}', []),
        ("{}", []),
        ('{"own_co', []),  # damaged
    ]
    assert changed(noted(record.environment), now) == []
    for text, names in cases:
        record.environment_file.write_text(text)
        assert changed(noted(record.environment), now) == names, text


def test_a_run_that_goes_on_with_other_code_keeps_both_digests():
    first = joined({}, {"a": "11111111"})
    second = joined(first, {"a": "22222222", "b": "33333333"})
    assert first == {"a": "11111111"} and second == {"a": "11111111+22222222", "b": "33333333"}
    assert joined(second, {"a": "22222222"}) == {"a": "11111111+22222222"}, "the same code again is no third version"
    assert changed(second, {"a": "22222222"}) == ["a"]
