"""Several studies in one table: rows of all, what they share counted once, and where the output goes."""

from pathlib import Path

import pandas as pd
import pytest
from helpers import job
from synthetic import make_run, rows

from daair.cli import conf_dir
from daair.config.jobs import Command, Composer
from daair.config.validate import validate
from daair.errors import UserError
from daair.report import joint
from daair.report.frame import frame
from daair.report.table import TableSpec, study_table
from daair.tasks import collate as task


def of_study(keys: list[str]) -> dict:
    return {"rows": keys, "columns": None, "metrics": ["psnr"], "reference": None, "published": None}


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Study `rank` with three seeds, study `count` with two; rank 8 with five experts is in both."""
    monkeypatch.setattr("daair.report.figures.draw", lambda *_, **__: [])
    for rank in (4, 8):
        for seed in range(3):
            psnr = [30.0 + rank / 10 + seed / 10, 31.0 + rank / 10]
            make_run(
                tmp_path, f"rank{rank}-0000000{rank}", seed, rows(psnr), experts={"rank": rank},
                collate=of_study(["experts.rank"]), question="How large?",
            )  # fmt: skip
    for count in (1, 5):
        for seed in range(2):
            psnr = [30.8 + seed / 10, 31.8 + seed / 2]
            make_run(
                tmp_path, f"n{count}-0000000{8 if count == 5 else 1}", seed, rows(psnr), study="count",
                experts={"rank": 8, "count": count}, collate=of_study(["experts.count"]), question="How many?",
                status={"finished": "2026-11-02T00:00:00+00:00"},
            )  # fmt: skip
    return tmp_path


def collate(runs: Path, *overrides: str) -> int:
    composed = Composer(conf_dir()).compose(["task=collate", f"paths.runs={runs}", *overrides])
    return task.collate(job(validate(composed)))


def lines(file: Path) -> list[str]:
    return [line for line in file.read_text().splitlines() if line.startswith("|")]


def test_rows_of_all_studies_and_what_they_share_once(runs: Path) -> None:
    assert collate(runs, "study=[rank,count]") == 0
    folder = runs / "rank+count"
    table = (folder / "table.md").read_text()
    assert table.startswith("# How large? How many?")
    header, _, *body = lines(folder / "table.md")
    assert header.startswith("| experts.rank | experts.count | CBSD68 σ=25 |")
    assert [line.split(" | ")[:2] for line in body] == [["| 4", "5"], ["| 8", "1"], ["| 8", "5"]]
    assert "31.43 ± 0.15" in body[2], "three seeds: two of `count`, which ended later, and one of `rank`"
    assert (
        "left out: rank/rank8-00000008/seed0 (as count/n5-00000008/seed0), rank/rank8-00000008/seed1 "
        "(as count/n5-00000008/seed1, up to 0.50 dB apart)." in table
    )
    assert "Seeds: count 0, 1; rank 0, 1, 2." in table
    assert "(2/3)" not in table, "two seeds are all that the study `count` has"
    assert set(pd.read_csv(folder / "runs.csv")["study"]) == {"rank", "count"} and len(frame(runs).runs) == 10
    assert r"\label{tab:rank-count}" in (folder / "table.tex").read_text()
    assert not (runs / "rank" / "table.md").exists()


def test_the_study_as_a_key_of_rows_columns_and_groups(runs: Path) -> None:
    assert collate(runs, "study=[rank,count]", "collate.rows=[study,experts.rank,experts.count]") == 0
    _, _, *body = lines(runs / "rank+count" / "table.md")
    assert [line.split(" | ")[0] for line in body] == ["| count", "| count", "| rank", "| rank"]
    keys = ["collate.rows=[experts.rank,experts.count]", "collate.columns=[study,benchmark]"]
    assert collate(runs, "study=[rank,count]", *keys) == 0
    header, _, *body = lines(runs / "rank+count" / "table.md")
    assert "| count CBSD68 σ=25 | rank CBSD68 σ=25 |" in header and len(body) == 3


def test_groups_by_study_are_refused_where_a_row_belongs_to_both(runs: Path) -> None:
    with pytest.raises(UserError, match=r"collate.table.groups: study differs within the row 8 5: count, rank"):
        collate(runs, "study=[rank,count]", "collate.table.groups=study")
    for seed in range(3):
        make_run(runs, "other-0000000b", seed, rows([29.0, 28.0]), study="more", experts={"rank": 16})
    assert collate(runs, "study=[rank,more]", "collate.rows=[experts.rank]", "collate.table.groups=study") == 0
    _, _, *body = lines(runs / "rank+more" / "table.md")
    assert [line.split(" | ")[0] for line in body][:5] == ["| *more*", "| 16", "| *rank*", "| 4", "| 8"]


def test_conflicts_are_one_line(runs: Path) -> None:
    make_run(runs, "long-0000000c", 0, rows([30.0, 31.0]), study="long", train={"steps": 200}, status={"steps": 200})
    with pytest.raises(UserError, match=r"^train.steps: 200 in long/long-0000000c/seed0, 100 in rank/.*collate.rows$"):
        collate(runs, "study=[rank,long]", "collate.rows=[experts.rank,label]")
    with pytest.raises(UserError, match=r"does not tell long/long-0000000c/seed0 from rank/rank4-00000004/seed0"):
        collate(runs, "study=[rank,long]", "collate.rows=[experts.rank]")
    with pytest.raises(UserError, match=r"^study=cout has no runs in .*; did you mean study=count\?$"):
        collate(runs, "study=[rank,cout]")


def test_where_the_output_goes(runs: Path) -> None:
    assert collate(runs, "study=[rank,count]", "collate.name=both", "collate.format=[md]") == 0
    assert (runs / "both" / "table.md").exists() and not (runs / "rank+count").exists()
    with pytest.raises(UserError, match=r"^collate.name: rank is a study with runs and a table of its own"):
        collate(runs, "study=[rank,count]", "collate.name=rank")
    assert collate(runs, "study=[rank,rank]", "collate.format=[md]") == 0 and (runs / "rank" / "table.md").exists()


def test_only_collating_takes_several() -> None:
    with pytest.raises(UserError, match=r"^study: task=status takes one, got \[a, b\]; several: task=collate"):
        list(Command.parse(["task=status", "study=[a,b]"]).jobs)
    assert Command.parse(["task=collate", "study=[a b,2]"]).jobs[0].config.studies == ("a b", "2")


def test_seeds_of_one_config_in_two_studies_make_one_row(tmp_path: Path) -> None:
    for study, seeds in (("first", (0, 1)), ("second", (2, 3))):
        for seed in seeds:
            make_run(tmp_path, f"{study}-0000000a", seed, rows([30.0 + seed, 30.0]), study=study)
    make_run(tmp_path, "b-0000000b", 2, rows([31.0, 30.0]), study="second", experts={"rank": 8})
    table = study_table(frame(tmp_path, ["first", "second"]), TableSpec(rows=("experts.rank",), metrics=("psnr",)))
    means = table.numbers[table.numbers["metric"] == "psnr"]
    assert means[["seeds", "expected"]].values.tolist() == [[4, 4], [1, 2]]
    kept, said = joint.once(frame(tmp_path, ["first", "second"]), [])
    assert (
        kept.runs["variant"].tolist() == ["first-0000000a"] * 2 + ["b-0000000b"] + ["first-0000000a"] * 2 and said == []
    )


def test_a_row_that_only_one_study_measured_somewhere_is_not_averaged(runs: Path) -> None:
    make_run(runs, "d-0000000d", 0, rows([30.0]) + rows([25.0], "rain100l"), study="more", experts={"rank": 16})
    spec = TableSpec(rows=("experts.rank", "experts.count"), metrics=("psnr",))
    with pytest.raises(UserError, match=r"cbsd68_sigma25, promptir: 2 images in count/"):
        study_table(frame(runs, ["count", "more"]), spec)


@pytest.mark.parametrize("keys", [("study", "label"), ("label", "study")])
def test_weights_that_two_studies_evaluated_are_a_row_in_each(tmp_path: Path, keys: tuple[str, str]) -> None:
    weights = {"origin": "published weights", "weights_file": "a.ckpt", "weights_digest": "ab" * 32}
    for study, psnr in (("first", 30.0), ("second", 31.0)):
        make_run(tmp_path, "a-0000000a", 0, rows([psnr]), study=study)
        make_run(tmp_path, "PromptIR-0000000b", 0, rows([psnr + 5]), study=study, summary=weights).rename(
            tmp_path / study / "PromptIR-0000000b" / "weights"
        )
    table = study_table(frame(tmp_path, ["first", "second"]), TableSpec(rows=keys, metrics=("psnr",)))
    means = table.numbers[table.numbers["metric"] == "psnr"]["mean"].tolist()
    found = {name[keys.index("study")]: [] for name in table.rows.names}
    for name, mean in zip(table.rows.names, means, strict=True):
        found[name[keys.index("study")]].append((name[keys.index("label")], mean))
    assert found == {
        study: [("a", psnr), (f"PromptIR (published weights, {study})", psnr + 5)]
        for study, psnr in (("first", 30.0), ("second", 31.0))
    }
    assert table.rows.trained == 2
