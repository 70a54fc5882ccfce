"""Config files are parsed once, and again after they have changed."""

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from daair.config.compose import Composer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("defaults: [part: one, _self_]\na: 1\n")
    (tmp_path / "part").mkdir()
    for name in ("one", "two"):
        (tmp_path / "part" / f"{name}.yaml").write_text(f"name: {name}\nvalues: [1, 2]\n")
    return tmp_path


def test_a_file_is_parsed_once_for_all_composers(folder, monkeypatch):
    first = Composer(str(folder)).compose([])
    read = []
    load = OmegaConf.load
    monkeypatch.setattr(OmegaConf, "load", lambda file: read.append(Path(file.name).name) or load(file))
    assert Composer(str(folder)).compose([]).part == first.part
    assert Composer(str(folder)).compose(["part=two"]).part.name == "two"
    assert read == ["two.yaml"]


def test_a_changed_file_is_parsed_again(folder):
    composer = Composer(str(folder))
    composer.compose([])
    file = folder / "part" / "one.yaml"
    file.write_text("name: ONE\nvalues: [1, 2]\n")  # as long as before
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert composer.compose([]).part.name == "ONE"
    file.unlink()
    file.with_name("three.yaml").write_text("name: three\n")
    assert composer.compose(["part=three"]).part.name == "three"


def test_what_a_caller_changes_stays_with_it(folder):
    composer = Composer(str(folder))
    config = composer.compose([])
    config.part["values"].append(3)
    config.part["name"] = "changed"
    again = composer.compose([])
    assert (again.part["name"], list(again.part["values"])) == ("one", [1, 2])
