"""Runs that were moved, renamed or archived by hand: they are collated, under the names that they have now."""

import shutil
from pathlib import Path

import pytest
import yaml
from helpers import job
from synthetic import make_run, rows

from daair.cli import conf_dir
from daair.config.identity import config_id
from daair.config.jobs import Composer
from daair.config.validate import validate
from daair.errors import UserError
from daair.report.frame import frame
from daair.tasks import collate as task


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for rank in (4, 8):
        for seed in range(2):
            make_run(tmp_path, f"rank{rank}-0000000{rank}", seed, rows([30.0 + rank, 31.0]), experts={"rank": rank})
    return tmp_path


def names(runs: Path, *studies: str) -> list[tuple]:
    """What the frame says of each run: its folder, label, id, seed and rank."""
    table = frame(runs, studies).runs
    return list(table[["run", "label", "id", "seed", "experts.rank"]].itertuples(index=False, name=None))


def test_a_study_that_was_renamed_moved_or_archived(runs: Path) -> None:
    before = [(label, id, seed, rank) for _, label, id, seed, rank in names(runs, "rank")]
    for place in ("rank (old)", "archive/rank", "archive/2026/11/rank"):
        now = runs / place
        now.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(next(runs.rglob("rank4-*")).parent, now)
        found = names(runs, place)
        assert [one[1:] for one in found] == before and found[0][0] == f"{place}/rank4-00000004/seed0"
        assert set(frame(runs, place).runs["study"]) == {place}
    elsewhere = runs / "elsewhere" / "rank"
    shutil.move(runs / "archive/2026/11/rank", elsewhere)
    assert [one[1:] for one in names(elsewhere.parent, "rank")] == before


def test_runs_and_variants_with_names_of_their_own(runs: Path) -> None:
    (runs / "rank/rank4-00000004").rename(runs / "rank/ours")
    (runs / "rank/rank8-00000008/seed1").rename(runs / "rank/rank8-00000008/second try")
    found = names(runs, "rank")
    assert [one[0] for one in found] == [
        "rank/ours/seed0", "rank/ours/seed1", "rank/rank8-00000008/second try", "rank/rank8-00000008/seed0",
    ]  # fmt: skip
    assert [one[1] for one in found] == ["ours", "ours", "rank8", "rank8"]
    assert [one[3:] for one in found] == [(0, 4), (1, 4), (1, 8), (0, 8)]
    assert len({one[2] for one in found}) == 2 and frame(runs, "rank").left_out == ()
    (runs / "rank/ours/seed0").rename(runs / "rank/alone")  # below no variant
    (runs / "rank/ours/notes.txt").write_text("mine")
    assert ("rank/alone", "alone", found[0][2], 0, 4) in names(runs, "rank")
    assert [one.path for one in frame(runs, "rank").left_out] == ["rank/ours/notes.txt"]


def test_a_run_that_was_moved_into_another_study_belongs_to_it(runs: Path) -> None:
    (runs / "best").mkdir()
    shutil.move(runs / "rank/rank8-00000008", runs / "best/rank8-00000008")
    assert [one[0] for one in names(runs, "best")] == [f"best/rank8-00000008/seed{k}" for k in (0, 1)]


def test_an_archived_run_that_was_trained_again_counts_once(runs: Path) -> None:
    shutil.copytree(runs / "rank/rank8-00000008/seed0", runs / "rank/rank8-00000008/seed0_old")
    (one,) = frame(runs, "rank").left_out
    assert str(one) == (
        "rank/rank8-00000008/seed0_old: has the config and seed of rank/rank8-00000008/seed0, which counts"
    )
    shutil.copytree(runs / "rank/rank8-00000008", runs / "archive/rank/rank8-00000008")
    assert len(names(runs, "rank", "archive/rank")) == 6


def test_the_id_of_a_renamed_run_is_that_of_its_config(runs: Path) -> None:
    config = validate(Composer(conf_dir()).compose(["model=daair_tiny", "seed=3"]))
    folder = make_run(runs, "x-0000000f", 3, study="own")
    (folder / "config.yaml").write_text(yaml.safe_dump(config.to_dict(), sort_keys=False))
    folder.parent.rename(runs / "own" / "mine")
    assert frame(runs, "own").runs["id"].tolist() == [config_id(config)]


def test_the_table_has_them(runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr("daair.report.figures.draw", lambda *_, **__: [])
    (runs / "archive").mkdir()
    shutil.move(runs / "rank", runs / "archive" / "rank")
    (runs / "archive/rank/rank4-00000004").rename(runs / "archive/rank/small")
    make_run(runs, "rank16-00000010", 0, rows([40.0, 31.0]), experts={"rank": 16})
    make_run(runs, "rank16-00000010", 1, rows([40.0, 31.0]), experts={"rank": 16})
    composed = Composer(conf_dir()).compose(["task=collate", "study=[rank,archive/rank]", f"paths.runs={runs}"])
    assert task.collate(job(validate(composed))) == 0 and "left out" not in capsys.readouterr().out
    table = next(runs.glob("rank+*/table.md")).read_text()
    assert [line.split(" | ")[0] for line in table.splitlines() if " ± " in line][:3] == ["| 4", "| 8", "| 16"]


def test_what_lies_outside_is_no_study(runs: Path) -> None:
    for study in ("../x", str(runs / "rank"), "rank/..", "."):
        with pytest.raises(UserError, match="no runs"):
            frame(runs / "rank", study)
