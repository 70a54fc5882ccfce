"""What must agree within a table: data, inputs, tiles, budgets and kinds of noise; the refusals name the two runs."""

from pathlib import Path

import pytest
from synthetic import make_run, rows

from daair.errors import UserError
from daair.report import layout
from daair.report.frame import frame
from daair.report.table import StudyTable, TableSpec, study_table


def table_of(tmp_path: Path, **plan) -> StudyTable:
    return study_table(frame(tmp_path, "rank"), TableSpec(**{"resamples": 200, **plan}), "rank")


OTHER = {  # what differs in the second run, and what the refusal says
    "protocol": ({"rows": {"protocol": "moceir"}}, "cbsd68_sigma25: protocols differ: promptir in {a} and"),
    "tiling": ({"rows": {"tile": 512}}, "cbsd68_sigma25, promptir: tiles: whole in {a}, tiles: 512 in {b}"),
    "size": ({"rows": {"width": 481}}, "cbsd68_sigma25, promptir: 0.png has another size in {b} than in {a}"),
    "input": ({"rows": {"input_psnr": 20.1}}, "cbsd68_sigma25, promptir: 0.png has another degraded input in {b} than"),
    "early": ({"rows": {"step": 50}}, "cbsd68_sigma25, promptir: {b} was measured after 50 updates, its budget is 100"),
    "budget": (
        {"train": {"steps": 200}, "rows": {"step": 200}, "status": {"steps": 200}},
        "train.steps: 100 in {a}, 200 in {b}; budgets differ; if that is the question, add train.steps to collate.rows",
    ),
    "epochs": ({"train": {"epochs": 2}}, "train.epochs: fixed updates in {a}, 2.0 in {b}; budgets differ; if that is"),
    "time": ({"train": {"budget": "20min"}}, "train.budget: fixed updates in {a}, 20min in {b}; budgets differ; if"),
    "phases": ({"train": {"progressive": [{"share": 1}]}}, 'train.progressive: [] in {a}, [{{"share": 1}}] in {b}; '),
    "batch": ({"train": {"batch_size": 8}}, "train.batch_size: 4 in {a}, 8 in {b}; budgets differ"),
    "crop": ({"mix": {"patch": 128}}, "mix.patch: 64 in {a}, 128 in {b}; budgets differ"),
    "processes": (
        {"summary": {"processes": 2}},
        "processes: 1 in {a}, 2 in {b}; with scope=local each process balances its own images; train them on as many",
    ),
    "pictures": ({"summary": {"training_data": "other"}}, "training_data: dddddddddddd in {a}, other in {b}; "),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHER)
def test_what_does_not_compare_is_refused_with_the_two_runs(tmp_path: Path, what: str) -> None:
    given, text = OTHER[what]
    given = dict(given)
    local = {"router": {"scope": "local"}}
    make_run(tmp_path, "a-00000004", 0, rows([30.0, 31.0]), experts={"rank": 4}, **local)
    table = rows([30.0, 31.0], **given.pop("rows", {}))
    make_run(tmp_path, "b-00000008", 0, table, experts={"rank": 8}, **local, **given)
    with pytest.raises(UserError) as caught:
        table_of(tmp_path, rows=("experts.rank",))
    assert str(caught.value).startswith(text.format(a="rank/a-00000004/seed0", b="rank/b-00000008/seed0"))


@pytest.mark.parametrize("images", [{"0.png": 30.0}, {"0.png": 30.0, "2.png": 31.0}])
def test_other_images_are_refused(tmp_path: Path, images: dict[str, float]) -> None:
    make_run(tmp_path, "a-00000004", 0, rows([30.0, 31.0]), experts={"rank": 4})
    make_run(tmp_path, "b-00000008", 0, rows(images), experts={"rank": 8})
    with pytest.raises(UserError, match="rank/b-00000008/seed0.*measured on different data"):
        table_of(tmp_path)


def test_budgets_may_differ_when_they_are_the_question(tmp_path: Path) -> None:
    for steps in (100, 200):
        table = rows([30.0 + steps], step=steps)
        make_run(tmp_path, f"a-{steps:08x}", 0, table, train={"steps": steps}, status={"steps": steps})
    assert table_of(tmp_path, rows=("train.steps",)).rows.names == [("100",), ("200",)]


def test_processes_may_differ_where_they_balance_together(tmp_path: Path) -> None:
    for i, name in enumerate("ab"):
        more = {"router": {"scope": "global"}, "summary": {"processes": 1 + i}}
        make_run(tmp_path, f"{name}-0000000{i}", 0, rows([30.0]), experts={"rank": 4 + i}, **more)
    assert len(table_of(tmp_path, rows=("experts.rank",)).rows.names) == 2


def in_time(folder: Path, count: int, steps: int, processor: str = "A Processor", threads: int = 1) -> None:
    """Write a run that trained for 20 minutes and made so many updates in them."""
    given = {
        "train": {"steps": None, "budget": "20min", "threads": threads},
        "experts": {"rank": count},
        "status": {"steps": steps},
    }
    given["summary"] = {"update_seconds": 1150 + 10 * count}
    make_run(folder, f"a-{count:08x}", 0, rows([30.0], step=steps), environment={"processor": processor}, **given)


def test_a_table_of_equal_times_says_so_and_shows_the_updates(tmp_path: Path) -> None:
    in_time(tmp_path, 4, 2400)
    in_time(tmp_path, 8, 1250)
    study = table_of(tmp_path, rows=("experts.rank",))
    made = study.numbers[study.numbers["metric"] == "steps"]
    assert made["mean"].tolist() == [2400, 1250]
    first, *_ = layout.blocks(study)
    assert first.header[-1] == "updates" and [line[-1].text for line in first.rows] == ["2400", "1250"]
    text = "Trained for 20min each, without validation and waiting for images; updates: how many that gave "
    text += "(they took 19.8 to 20.5 min)."
    assert text in " ".join(layout.notes(study))

    make_run(tmp_path, "a-00000001", 0, rows([30.0]), experts={"rank": 1})
    with pytest.raises(UserError, match="train.budget: fixed updates in .*, 20min in .*; budgets differ; if that is"):
        table_of(tmp_path, rows=("experts.rank",))
    marked = table_of(tmp_path, rows=("train.budget", "experts.rank"))
    assert marked.rows.names == [("20min", "4"), ("20min", "8"), ("none", "1")]
    assert "With a train.budget, trained for that time, without" in " ".join(layout.notes(marked))


def test_times_of_more_threads_are_no_equal_budgets(tmp_path: Path) -> None:
    in_time(tmp_path, 4, 2400)
    in_time(tmp_path, 8, 9900, threads=16)
    with pytest.raises(
        UserError, match="^train.threads: 1 in .*, 16 in .*; train.threads decides what a time is worth"
    ):
        table_of(tmp_path, rows=("experts.rank",))


def test_times_on_different_hardware_are_no_equal_budgets(tmp_path: Path) -> None:
    in_time(tmp_path, 4, 2400)
    in_time(tmp_path, 8, 9900, "Another Processor")
    with pytest.raises(UserError, match="^hardware: A Processor in .*, Another Processor in .*; hardware decides"):
        table_of(tmp_path, rows=("experts.rank",))
    assert len(table_of(tmp_path, rows=("hardware", "experts.rank")).rows.names) == 2


def test_pictures_may_differ_between_mixes(tmp_path: Path) -> None:
    for i, mix in enumerate(("aio3", "denoise")):
        make_run(tmp_path, f"a-0000000{i}", 0, choices={"mix": mix}, summary={"training_data": mix})
    assert table_of(tmp_path, rows=("mix",)).rows.names == [("aio3",), ("denoise",)]


@pytest.mark.parametrize("protocol", ["promptir", "basicsr_rgb"])
def test_both_kinds_of_noise_are_never_averaged(tmp_path: Path, protocol: str) -> None:
    """Not even if both are measured by one protocol; clipped noise alone is."""
    table = rows([30.0]) + rows([31.0], "cbsd68_sigma50") + rows([29.0], "cbsd68_awgn25", protocol=protocol)
    for rank in (4, 8):
        make_run(tmp_path, f"a-{rank:08x}", 0, table, experts={"rank": rank})
    study = table_of(tmp_path)
    assert study.columns.names == [("cbsd68_sigma25",), ("cbsd68_sigma50",), ("cbsd68_awgn25",)]
    assert not study.averages
    assert "No average: the noise of cbsd68_sigma25 is clipped to 8 bits, that of cbsd68_awgn25 is not." in study.notes
    with pytest.raises(UserError, match="^collate.columns: aio3 would average over cbsd68_sigma25 .*cbsd68_awgn25"):
        table_of(tmp_path, rows=("experts.rank",), columns=("mix",))
    clipped = table_of(tmp_path, benchmarks=("cbsd68_sigma25", "cbsd68_sigma50"))
    assert clipped.averages and not clipped.notes


def test_other_noise_under_the_same_name_is_refused(tmp_path: Path) -> None:
    """A user's own `mine` with `degrade=sigma25` in one run and with `degrade=awgn25` in another."""
    for rank, psnr in ((4, 20.55), (8, 20.17)):
        make_run(tmp_path, f"a-{rank:08x}", 0, rows([30.0], "mine", input_psnr=psnr), experts={"rank": rank})
    with pytest.raises(UserError, match=r"^mine, promptir: 0.png has another degraded input in "):
        table_of(tmp_path)
