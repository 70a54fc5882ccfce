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
