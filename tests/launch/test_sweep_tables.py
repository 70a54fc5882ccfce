"""After a sweep: the table of a study that has a file, and no other."""

from types import SimpleNamespace

import pytest

from daair.errors import UserError
from daair.launch.sweep import make_tables
from daair.tasks import collate as task


def job(study: str, **choices: str) -> SimpleNamespace:
    config = SimpleNamespace(study=study, paths=SimpleNamespace(runs="runs"), choices={"model": "daair", **choices})
    return SimpleNamespace(config=config)


def test_each_study_with_a_file_is_collated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(task, "collate", lambda job: asked.append(job.config.study))
    make_tables([job("rank", experiment="rank"), job("rank", experiment="rank"), job("mine"), job("b", experiment="x")])
    assert asked == ["rank", "b"]


def test_a_table_that_cannot_be_made_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def refuse(config) -> int:
        raise UserError("tiles: whole in a, tiles: 512 in b")

    monkeypatch.setattr(task, "collate", refuse)
    make_tables([job("rank", experiment="rank")])
    assert capsys.readouterr().err == "no table of rank: tiles: whole in a, tiles: 512 in b\n"
