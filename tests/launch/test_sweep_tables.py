"""After a sweep: the table of a study that has a file, and of others the command that makes it."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from daair.errors import UserError
from daair.launch.sweep import make_tables
from daair.runs.record import Record
from daair.tasks import collate as task


def job(study: str, **choices: str) -> SimpleNamespace:
    config = SimpleNamespace(study=study, paths=SimpleNamespace(runs="runs"), choices={"model": "daair", **choices})
    return SimpleNamespace(config=config, folder=Path("nowhere"))


def test_each_study_with_a_file_is_collated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(task, "collate", lambda job: asked.append(job.config.study))
    make_tables([job("rank", experiment="rank"), job("rank", experiment="rank"), job("mine"), job("b", experiment="x")])
    assert asked == ["rank", "b"]


def test_the_command_of_a_table_is_told_once_something_is_done(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    jobs = [SimpleNamespace(config=job("mine").config, folder=tmp_path / name) for name in ("seed0", "seed1")]
    make_tables(jobs)
    assert capsys.readouterr().out == "", "all failed: there is nothing to show"
    for one in jobs:
        Record(one.folder).update(state="done")
    make_tables(jobs)
    assert capsys.readouterr().out == "the study's table: python run.py task=collate study=mine\n"


def test_a_table_that_cannot_be_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(config) -> int:
        raise UserError("tiles: whole in a, tiles: 512 in b")

    monkeypatch.setattr(task, "collate", refuse)
    make_tables([job("rank", experiment="rank")])
    assert capsys.readouterr().err == "no table of rank: tiles: whole in a, tiles: 512 in b\n"
