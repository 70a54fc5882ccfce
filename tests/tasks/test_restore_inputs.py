"""Which files `task=restore` takes of its `input`: several, patterns, folders, links, and what it leaves out."""

import os

import pytest
from restoring import Brighten, config, restore, save

from daair import checkpoint
from daair.errors import UserError


@pytest.fixture
def model(monkeypatch):
    model = Brighten().eval()
    monkeypatch.setattr(checkpoint, "load", lambda path, trust=(): model)
    return model


def test_several_inputs_and_patterns(tmp_path, model):
    for name in ("a.png", "b.png", "c.jpg", "sub/d.png", "other/a.png"):
        save(tmp_path / "in" / name)
    cfg = config(tmp_path / "in" / "*.png", tmp_path / "out")
    assert restore(cfg) == 0 and sorted(os.listdir(tmp_path / "out")) == ["a.png", "b.png"]
    cfg.input, cfg.output = (str(tmp_path / "in" / "c.jpg"), str(tmp_path / "in" / "sub")), str(tmp_path / "list")
    assert restore(cfg) == 0 and sorted(os.listdir(tmp_path / "list")) == ["c.jpg", "d.png"]
    cfg.input = (str(tmp_path / "in" / "a.png"), str(tmp_path / "in" / "other" / "a.png"))
    with pytest.raises(UserError, match=r"input: .*a.png and .*other/a.png would both be written to .*list/a.png"):
        restore(cfg)
    cfg.input = str(tmp_path / "in" / "*.bmp")
    with pytest.raises(UserError, match=r"input: .*\*.bmp: no such file or folder"):
        restore(cfg)


def test_folders_that_a_pattern_finds_keep_their_names(tmp_path, model, capsys):
    for name in ("a.png", "day1/1.jpg", "day2/1.jpg"):
        save(tmp_path / "in" / name)
    (tmp_path / "in" / "notes.txt").touch()
    for _ in range(2):  # the second time the output is among what the pattern finds
        assert restore(config(tmp_path / "in" / "*", tmp_path / "in" / "out")) == 0
        said = capsys.readouterr().out
        assert "restored 3 of 3 pictures" in said and "skipped 1 file that is not a picture: notes.txt" in said
    written = sorted(str(p.relative_to(tmp_path / "in" / "out")) for p in (tmp_path / "in" / "out").rglob("*.*"))
    assert written == ["a.png", "day1/1.jpg", "day2/1.jpg"]


def test_a_folder_that_cannot_be_listed_is_told(tmp_path, model, capsys, monkeypatch):
    for name in ("a.png", "closed/b.png"):
        save(tmp_path / "in" / name)
    scandir, closed = os.scandir, str(tmp_path / "in" / "closed")

    def refuse(folder):  # root, who runs these tests in a container, may list any
        if str(folder) == closed:
            raise PermissionError(13, "Permission denied", closed)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    assert restore(config(tmp_path / "in", tmp_path / "out")) == 1
    said = capsys.readouterr().out
    assert f"not restored: {closed}: cannot be listed (Permission denied)" in said
    assert f"not restored (1, reasons above):\n  {closed}\nrestored 1 of 1 picture: " in said
    with pytest.raises(UserError, match=f"^input: {closed}: cannot be listed"):
        restore(config(closed, tmp_path / "out"))


def test_linked_folders_are_followed_once(tmp_path, model):
    """A link back to the folder itself, one that leads out and in again, and two links to one folder."""
    save(tmp_path / "in" / "a.png")
    save(tmp_path / "elsewhere" / "b.png")
    for link, place in (("in/loop", "in"), ("in/b1", "elsewhere"), ("in/b2", "elsewhere"), ("elsewhere/back", "in")):
        os.symlink(tmp_path / place, tmp_path / link)
    os.symlink(tmp_path / "gone", tmp_path / "in" / "nowhere")
    assert restore(config(tmp_path / "in", tmp_path / "out")) == 0
    written = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png"))
    assert written == ["a.png", "b1/b.png"]


def test_pictures_of_other_formats_are_counted_and_named(tmp_path, model, capsys, monkeypatch):
    save(tmp_path / "in" / "a.png")
    for name in ("b.cr2", "c.jp2", "d.txt"):
        (tmp_path / "in" / name).touch()
    assert restore(config(tmp_path / "in", tmp_path / "out")) == 0
    said = capsys.readouterr().out
    assert "skipped 2 pictures of formats that cannot be read: b.cr2, c.jp2\n" in said
    assert "skipped 1 file that is not a picture: d.txt\n" in said
