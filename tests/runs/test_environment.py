"""The commit and the uncommitted changes that a run notes."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daair.files import write_text
from daair.runs import environment as module

NAME = Path("src", "daair", "runs", "environment.py")  # where the module lies in a checkout


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A repository with two committed files, in which the module pretends to lie."""
    source = tmp_path / "lab" / NAME
    source.parent.mkdir(parents=True)
    source.write_text("first\n\n\n\nlast\n")
    git(tmp_path / "lab", "init")
    git(tmp_path / "lab", "add", "-A")
    git(tmp_path / "lab", "commit", "-m", "x")
    monkeypatch.setattr(module, "__file__", str(source))
    for function in (module.git_state, module.git_diff):
        function.cache_clear()
    yield tmp_path / "lab"
    for function in (module.git_state, module.git_diff):
        function.cache_clear()


def test_the_noted_changes_give_the_same_files_again(checkout: Path) -> None:
    changed = b"second \xe9 of Latin-1\n\n\n\nlast\n"
    (checkout / NAME).write_bytes(changed)
    write_text(checkout.parent / "changes.patch", module.git_diff())
    git(checkout, "checkout", "--", ".")
    git(checkout, "apply", str(checkout.parent / "changes.patch"))
    assert (checkout / NAME).read_bytes() == changed


def test_a_new_source_file_is_a_change_and_is_noted(checkout: Path) -> None:
    (checkout / "notes.txt").write_text("no source\n")
    (checkout / ".gitignore").write_text("*.log\n")
    (checkout / "src" / "a.log").write_text("ignored\n")
    assert module.git_state()["dirty"] is False and module.git_diff() == ""
    for function in (module.git_state, module.git_diff):
        function.cache_clear()
    new = checkout / "src" / "daair" / "a new one.py"
    new.write_text("first = 1\nlast = 2\n")
    assert module.git_state()["dirty"] is True
    write_text(checkout.parent / "changes.patch", module.git_diff())
    new.unlink()
    git(checkout, "apply", str(checkout.parent / "changes.patch"))
    assert new.read_text() == "first = 1\nlast = 2\n"


def test_a_package_inside_a_foreign_repository_notes_nothing_of_it(checkout: Path) -> None:
    (checkout / "other.txt").write_text("1\n")
    git(checkout, "rm", "--cached", str(NAME))
    git(checkout, "add", "other.txt")
    git(checkout, "commit", "-m", "y")
    (checkout / "other.txt").write_text("2\n")
    assert module.git_state() is None
    assert module.git_diff() == ""
