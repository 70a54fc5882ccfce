"""A study's table in numbers, from runs made by hand: means, deviations, ranks, tests, gaps and refusals."""

import math
from pathlib import Path

import pandas as pd
import pytest
from synthetic import make_run, rows, runs_of_variants

from daair.errors import UserError
from daair.report import layout
from daair.report.aggregate import COSTS_COLUMN
from daair.report.frame import frame
from daair.report.table import StudyTable, TableSpec, differing_keys, study_table

SIX = (30.0, 31.0, 32.0, 33.0, 34.0, 35.0)


def ranked(tmp_path: Path, gains: dict[int, list[float | None]], **config) -> None:
    """Runs of several ranks: `gains[rank][seed]` dB on all of six images, None for a run that is not there."""
    for rank, seeds in gains.items():
        for seed, gain in enumerate(seeds):
            if gain is not None:
                table = rows([value + gain for value in SIX]) + rows([20.0 + 2 * gain], "rain100l")
                make_run(tmp_path, f"a-{rank:08x}", seed, table, experts={"rank": rank}, **config)


def table_of(tmp_path: Path, **plan) -> StudyTable:
    return study_table(frame(tmp_path, "rank"), TableSpec(**{"resamples": 200, **plan}), "rank")


def cell(study: StudyTable, row: int, column: int, metric: str = "psnr") -> pd.Series:
    numbers = study.numbers
    found = numbers[(numbers["row"] == row) & (numbers["column"] == column) & (numbers["metric"] == metric)]
    assert len(found) == 1
    return found.iloc[0]


def test_mean_and_deviation_over_seeds_and_the_papers_average(tmp_path: Path) -> None:
    ranked(tmp_path, {16: [0.1, 0.2, 0.3], 4: [0.0, 0.0, 0.6]})
    study = table_of(tmp_path)
    assert study.rows.keys == ["experts.rank"] and study.rows.names == [("4",), ("16",)]
    assert study.columns.names == [("cbsd68_sigma25",), ("rain100l",)]
    first, second, average = (cell(study, 0, column) for column in (0, 1, -1))
    assert (first["mean"], first["sd"]) == pytest.approx((32.7, 0.6 / math.sqrt(3)))  # of 32.5, 32.5, 33.1
    assert (second["mean"], second["sd"]) == pytest.approx((20.4, 1.2 / math.sqrt(3)))
    # 6 images against 1: both benchmarks weigh the same.
    assert (average["mean"], average["sd"]) == pytest.approx(((32.7 + 20.4) / 2, 0.9 / math.sqrt(3)))
    assert (first["seeds"], first["expected"], first["images"], second["images"]) == (3, 3, 6, 1)
    assert cell(study, 1, 0, "ssim")["mean"] == pytest.approx(0.327)
    costs = study.numbers[study.numbers["column"] == COSTS_COLUMN]
    assert costs["metric"].unique().tolist() == ["parameters", "macs", "images_per_second"]
    assert costs[costs["metric"] == "parameters"]["mean"].tolist() == [500_000, 500_000]


def test_ranks_are_of_rounded_values_and_ties_share_them(tmp_path: Path) -> None:
    ranked(tmp_path, {1: [0.100], 2: [0.104], 3: [0.094], 4: [0.05], 5: [0.0]})
    study = table_of(tmp_path)
    assert [cell(study, row, 0)["rank"] for row in range(5)] == [1, 1, 2, 0, 0]  # 32.60 32.60 32.59 32.55 32.50
    assert [cell(study, row, 0, "ssim")["rank"] for row in range(5)] == [1, 1, 2, 0, 0]


def test_less_is_better_for_perceptual_distances(tmp_path: Path) -> None:
    for rank, value in ((1, 0.3), (2, 0.1)):
        make_run(tmp_path, f"a-{rank:08x}", 0, rows([30.0], input_lpips=0.5, lpips=value), experts={"rank": rank})
    study = table_of(tmp_path, metrics=("lpips",))
    assert [cell(study, row, 0, "lpips")["rank"] for row in (0, 1)] == [2, 1]
    with pytest.raises(UserError, match=r"collate.metrics: no run has dists; measure it with task=evaluate"):
        table_of(tmp_path, metrics=("dists",))


def test_runs_that_lack_a_metric_are_counted_and_not_averaged_over(tmp_path: Path) -> None:
    for rank in (1, 2):
        for seed in range(3):
            measured = {"lpips": "" if (rank, seed) == (2, 1) else 0.1 * rank}
            some = {"lpips": "" if (rank, seed) == (2, 2) else 0.3}  # of one image of two
            table = (
                rows([30.0], **measured) + rows([31.0], "rain100l", **measured) + rows({"x": 31.0}, "rain100l", **some)
            )
            make_run(tmp_path, f"a-{rank:08x}", seed, table, experts={"rank": rank})
    study = table_of(tmp_path, metrics=("lpips", "psnr"))
    assert [cell(study, 0, column, "lpips")["seeds"] for column in (0, 1, -1)] == [3, 3, 3]
    assert [cell(study, 1, column, "lpips")["seeds"] for column in (0, 1, -1)] == [2, 1, 1]
    assert [cell(study, row, 0, "lpips")["rank"] for row in (0, 1)] == [1, 0]
    assert cell(study, 1, 0, "lpips")["mean"] == pytest.approx(0.2)
    assert cell(study, 1, 0)["seeds"] == 3 and "missing seeds" in " ".join(study.notes)


def test_gain_is_over_the_input(tmp_path: Path) -> None:
    ranked(tmp_path, {4: [0.0]})
    assert cell(table_of(tmp_path, metrics=("gain",)), 0, 0, "gain")["mean"] == pytest.approx(12.5)


def test_comparison_with_the_reference(tmp_path: Path) -> None:
    ranked(tmp_path, {4: [0.0, 0.0], 8: [0.2, 0.4], 16: [-0.1, -0.1]})
    study = table_of(tmp_path, reference={"experts.rank": 4})
    assert study.reference == 0 and math.isnan(cell(study, 0, 0)["p_holm"])
    better = cell(study, 1, 0)
    assert (better["delta"], better["images_low"], better["images_high"]) == pytest.approx((0.3, 0.3, 0.3))
    assert better["p_images"] == pytest.approx(2 / 2**6) and math.isnan(
        better["p"]
    )  # six images, all better; two seeds do not make it twelve
    assert (better["paired_images"], better["paired_seeds"], better["seeds_agreeing"]) == (6, 2, 2)
    tests = study.numbers["p_images"].notna().sum()
    assert tests == 8 and better["p_holm"] == pytest.approx(min(1, 8 * 2 / 2**6))  # 2 rows, 2 columns, 2 metrics
    assert cell(study, 1, 1)["p_images"] == 1.0  # one image says nothing
    average = cell(study, 1, -1)
    assert average["delta"] == pytest.approx((0.3 + 0.6) / 2) and math.isnan(average["p_holm"])
    assert cell(study, 2, 0)["delta"] == pytest.approx(-0.1)


def test_a_column_of_several_benchmarks_weighs_them_alike_in_the_difference_too(tmp_path: Path) -> None:
    for rank, (large, small) in {4: (30.0, 35.0), 8: (30.0, 37.0)}.items():
        for seed in range(3):
            table = (
                rows([large] * 10, "urban100_sigma25") + rows([small] * 2, "kodak24_sigma25") + rows(SIX, "rain100l")
            )
            if (rank, seed) == (8, 2):  # it is in no cell of noise, nor in its difference
                table = table[:10] + table[12:]
                table[0] |= {"psnr": 90.0}
            make_run(tmp_path, f"a-{rank:08x}", seed, table, experts={"rank": rank})
    noise = {"urban100_sigma25": "noise", "kodak24_sigma25": "noise"}
    study = table_of(tmp_path, columns=("degradation",), degradations=noise, reference={"experts.rank": 4})
    assert study.columns.names == [("noise",), ("rain100l",)]
    own, other = cell(study, 1, 0), cell(study, 0, 0)
    assert (own["mean"], other["mean"], own["delta"]) == (33.5, 32.5, 1.0) and math.isnan(own["p_holm"])
    assert cell(study, 1, 1)["p_holm"] == 1.0
    assert "Columns of several benchmarks are not tested, because one photograph " in " ".join(layout.notes(study))


def test_missing_seeds_are_counted_and_not_ranked(tmp_path: Path) -> None:
    ranked(tmp_path, {4: [0.0, 0.1, 0.2], 8: [5.0, None, 5.2], 16: [0.1, 0.2, 0.3]})
    study = table_of(tmp_path, reference={"experts.rank": 4})
    lacking = cell(study, 1, 0)
    assert (lacking["seeds"], lacking["expected"], lacking["rank"]) == (2, 3, 0)
    assert lacking["mean"] == pytest.approx(32.5 + 5.1)
    assert [cell(study, row, 0)["rank"] for row in (0, 2)] == [2, 1]
    assert lacking["delta"] == pytest.approx(5.0) and lacking["paired_seeds"] == 2  # seeds 0 and 2 of both
    assert "Cells with missing seeds show how many there are (2/3) and are not ranked." in study.notes


def test_unfinished_runs_and_missing_benchmarks_are_gaps(tmp_path: Path) -> None:
    ranked(tmp_path, {4: [0.0, 0.1]})
    make_run(tmp_path, "b-00000008", 0, rows(SIX), experts={"rank": 8})  # not measured on rain100l
    make_run(tmp_path, "b-00000008", 1, None, experts={"rank": 8}, status={"state": "running"})
    make_run(tmp_path, "c-00000010", 0, rows(SIX), experts={"rank": 16}, status={"state": "interrupted"})
    study = table_of(tmp_path)
    assert study.rows.names == [("4",), ("8",), ("16",)]
    assert [cell(study, 1, column)["seeds"] for column in (0, 1, -1)] == [1, 0, 0]
    assert cell(study, 2, 0)["seeds"] == 0 and math.isnan(cell(study, 2, 0)["mean"])
    assert any("rank/b-00000008/seed1 (running), rank/c-00000010/seed0 (interrupted)" in note for note in study.notes)


def test_a_study_without_results(tmp_path: Path) -> None:
    make_run(tmp_path, "a-00000001", 0, None, status={"state": "queued"})
    make_run(tmp_path, "a-00000001", 1, None, status={"state": "failed"})
    with pytest.raises(UserError, match=r"no finished run has results to show yet \(runs: 1 queued, 1 failed\)"):
        table_of(tmp_path)


def test_rows_default_to_what_differs(tmp_path: Path) -> None:
    for i, (router, steps) in enumerate((("top1", 1), ("soft", 1), ("soft", 2))):
        noise = {"noise": 1.0} if router == "top1" else {}
        config = {"router": noise, "optimizer": {"lr": steps}, "choices": {"router": router}}
        config |= {"trust": [f"pkg{i}"], "mix": {"root": f"/data{i}"}}  # cannot change a trained network
        make_run(tmp_path, f"a-0000000{i}", 0, **config)
    study = table_of(tmp_path)
    assert study.rows.keys == ["router", "optimizer.lr"]
    assert study.rows.names == [("soft", "1"), ("soft", "2"), ("top1", "1")]


def test_rows_of_numbers_are_in_the_order_of_their_values(tmp_path: Path) -> None:
    for i, rate in enumerate((1e-4, 2e-4, 5e-5, 0.5, 0.25)):
        make_run(tmp_path, f"a-{i:08x}", 0, rows([30.0]), optimizer={"lr": rate})
    names = table_of(tmp_path, rows=("optimizer.lr",)).rows.names
    assert names == [("5e-05",), ("0.0001",), ("0.0002",), ("0.25",), ("0.5",)]


def test_integers_are_written_out_though_a_run_has_none(tmp_path: Path) -> None:
    for i, steps in enumerate((500_000, 1_000_000, 2_345_678, None)):
        make_run(tmp_path, f"a-{i:08x}", 0, rows([30.0]), optimizer={"warmup": steps})
    study = table_of(tmp_path, rows=("optimizer.warmup",), reference={"optimizer.warmup": 1_000_000})
    assert study.rows.names == [("500000",), ("1000000",), ("2345678",), ("none",)] and study.reference == 1


@pytest.mark.parametrize("plan", [{"rows": ("experts.rank", "seed")}, {"columns": ("benchmark", "seed")}])
def test_nothing_is_missing_where_each_seed_has_a_cell(tmp_path: Path, plan: dict) -> None:
    ranked(tmp_path, {2: [0.0, 0.1], 4: [0.2, 0.3]})
    study = table_of(tmp_path, **plan)
    assert (study.numbers["seeds"] == study.numbers["expected"]).all() and "missing" not in " ".join(study.notes)
    assert set(study.numbers["rank"].dropna()) >= {1, 2}


def test_a_study_that_diverged_is_shown(tmp_path: Path) -> None:
    for rank in (2, 4):
        make_run(tmp_path, f"a-{rank:08x}", 0, rows([math.nan, math.nan]), experts={"rank": rank})
    study = table_of(tmp_path, metrics=("psnr",))
    assert cell(study, 0, 0)["not_finite"] == 2 and "PSNR: 4 values not finite" in " ".join(study.notes)


def test_values_that_a_table_would_show_alike_are_refused(tmp_path: Path) -> None:
    for i, lr in enumerate((1e-4, 1.00000001e-4)):
        make_run(tmp_path, f"a-{i:08x}", 0, rows([30.0 + i]), optimizer={"lr": lr})
    with pytest.raises(UserError, match="collate.rows: optimizer.lr does not tell rank/a-00000000/seed0 from"):
        table_of(tmp_path, rows=("optimizer.lr",))


def test_columns_of_config_keys_average_benchmarks(tmp_path: Path) -> None:
    for count in (1, 5):
        for rank in (4, 8):
            table = rows([30.0 + count, 32.0 + count]) + rows([20.0 + rank], "rain100l")
            make_run(tmp_path, f"a-{16 * count + rank:08x}", 0, table, experts={"rank": rank, "count": count})
    study = table_of(tmp_path, rows=("experts.rank",), columns=("experts.count",))
    assert study.columns.names == [("1",), ("5",)] and not study.averages
    assert cell(study, 1, 0)["mean"] == pytest.approx((32.0 + 28.0) / 2)
    with pytest.raises(UserError) as caught:
        table_of(tmp_path, rows=("experts.rank",))
    assert str(caught.value) == (
        "collate.rows: experts.rank, benchmark does not tell rank/a-00000014/seed0 from rank/a-00000054/seed0, which "
        "are never averaged; they differ in experts.count: add it to collate.rows or collate.columns"
    ).replace("experts.rank, benchmark", "experts.rank")


def test_unknown_keys_and_references(tmp_path: Path) -> None:
    ranked(tmp_path, {4: [0.0], 8: [0.0]})
    for plan, text in (
        (
            {"rows": ("experts.rnk",)},
            "collate.rows, collate.columns: no run has experts.rnk; did you mean experts.rank?",
        ),
        (
            {"reference": {"experts.rank": 5}},
            "collate.reference: experts.rank=5 matches no rows; it must match one of: ",
        ),
        ({"reference": {"experts.count": 5}}, "collate.reference: experts.count is not one of the table's rows"),
    ):
        with pytest.raises(UserError) as caught:
            table_of(tmp_path, **plan)
        assert str(caught.value).startswith(text)


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


def test_several_protocols_are_columns_of_their_own_without_an_average(tmp_path: Path) -> None:
    table = rows([30.0]) + rows([31.0], protocol="moceir")
    make_run(tmp_path, "a-00000004", 0, table, experts={"rank": 4})
    make_run(tmp_path, "b-00000008", 0, table[:1], experts={"rank": 8})
    study = table_of(tmp_path, rows=("experts.rank",))
    assert study.columns.names == [("cbsd68_sigma25", "promptir"), ("cbsd68_sigma25", "moceir")] and not study.averages
    assert [cell(study, 1, column)["seeds"] for column in (0, 1)] == [1, 0]
    only = table_of(tmp_path, rows=("experts.rank",), protocols=("moceir",))
    assert only.columns.names == [("cbsd68_sigma25",)] and cell(only, 0, 0)["mean"] == 31.0
    assert table_of(
        tmp_path, rows=("experts.rank",), benchmarks=("cbsd68_sigma25",), protocols=("promptir",)
    ).rows.names


def test_speed_is_shown_only_on_one_hardware(tmp_path: Path) -> None:
    make_run(tmp_path, "a-00000004", 0, experts={"rank": 4})
    make_run(tmp_path, "b-00000008", 0, experts={"rank": 8}, environment={"processor": "Another"})
    study = table_of(tmp_path)
    assert "images_per_second" not in set(study.numbers["metric"])
    assert any("different hardware (A Processor; Another)" in note for note in study.notes)


def test_a_cost_is_shown_only_where_all_networks_of_a_row_have_it(tmp_path: Path) -> None:
    for i, (router, rank, parameters) in enumerate((("soft", 4, 5e5), ("top1", 4, 15e5), ("soft", 8, 9e5))):
        given = {"experts": {"rank": rank}, "choices": {"router": router}, "summary": {"parameters": parameters}}
        make_run(tmp_path, f"a-0000000{i}", 0, **given)
    study = table_of(tmp_path, rows=("experts.rank",), columns=("router", "benchmark"))
    (block, _) = layout.blocks(study)
    assert block.header[-3:] == ["params, M", "MACs, G", "images/s"]
    assert [[one.text for one in line[-3:]] for line in block.rows] == [["–", "1.00", "–"], ["0.90", "1.00", "30.0"]]


def test_keys_differ_between_variants_and_not_within() -> None:
    runs = runs_of_variants(
        **{"experts.rank": [4, 4, 8, 8], "train.threads": [1, 2, 1, 2], "train.steps": [9, 9, 9, 9]}
    )
    assert differing_keys(runs, ["experts.rank", "train.threads", "train.steps"]) == ["experts.rank"]


def test_a_group_stands_for_its_keys_and_an_empty_cell_is_a_value() -> None:
    runs = runs_of_variants(
        router=["top1"] * 2 + ["soft"] * 2, **{"router.noise": [1.0, 1.0, None, None], "x.y": [1, 1, None, None]}
    )
    assert differing_keys(runs, ["router", "router.noise", "x.y"]) == ["router", "x.y"]
