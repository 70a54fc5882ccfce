"""Figures, notes and tooltips are of the same runs, seeds, benchmarks and protocols as the table beside them."""

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from synthetic import make_run, rows

from daair.cli import conf_dir
from daair.config.jobs import Composer
from daair.config.validate import validate
from daair.errors import UserError
from daair.report import figures, layout
from daair.report.figures import curves, scores, style
from daair.report.frame import frame
from daair.report.layout import TableLook
from daair.report.names import Names
from daair.report.table import StudyTable, TableSpec, study_table
from daair.tasks import study_files


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """Figures by name, instead of files."""
    made: dict[str, Figure] = {}

    def save(figure: Figure, folder: Path, name: str, caption: str, marks: list = (), dpi: int | None = None):
        made[name] = figure
        spots = tuple(style.Spot(mark.x, mark.y, mark.variant, mark.text) for mark in marks)
        return style.Drawn(name, caption, (folder / f"{name}.pdf",), spots=spots)

    monkeypatch.setattr(style, "save", save)
    return made


def table_of(runs: Path, **spec) -> StudyTable:
    return study_table(frame(runs, "rank"), TableSpec(**{"rows": ["experts.rank"], "resamples": 200, **spec}), "rank")


def data_of(runs: Path, **options) -> figures.FigureData:
    return figures.figure_data(frame(runs, "rank"), runs, ["experts.rank"], **options)


def texts(drawn: style.Drawn) -> list[str]:
    return [spot.text for spot in drawn.spots]


def test_each_benchmark_is_drawn_by_one_protocol(tmp_path: Path, kept: dict) -> None:
    for rank in (4, 8):
        table = rows([30.0]) + rows([32.0], protocol="basicsr_y")
        make_run(tmp_path, f"a-0000000{rank}", 0, table, experts={"rank": rank})
    for wanted in (None, ["promptir", "basicsr_y"]):
        assert data_of(tmp_path, protocols=wanted).scores("psnr")["cbsd68_sigma25"].tolist() == [30.0, 30.0]
    assert data_of(tmp_path, protocols=["basicsr_y"]).scores("psnr")["cbsd68_sigma25"].tolist() == [32.0, 32.0]


def test_only_finished_runs_and_seeds_with_results_count(tmp_path: Path, kept: dict) -> None:
    for rank, gain in ((4, 0.0), (8, 1.0)):
        make_run(tmp_path, f"a-0000000{rank}", 0, rows([30.0 + gain]), experts={"rank": rank})
        failed = {"status": {"state": "failed"}, "experts": {"rank": rank}}
        make_run(tmp_path, f"a-0000000{rank}", 1, rows([20.0]), **failed)  # killed in its evaluation
        make_run(tmp_path, f"a-0000000{rank}", 2, None, status={"state": "queued"}, experts={"rank": rank})
    drawn = scores.draw_against(data_of(tmp_path), "experts.rank", "psnr", tmp_path)
    assert texts(drawn) == ["rank 4 (seed 0): PSNR 30.00 dB", "rank 8 (seed 0): PSNR 31.00 dB"]
    assert "one seed, so no spread is known" in drawn.caption
    first = next(layout.notes(table_of(tmp_path)))
    assert first.startswith("Protocol promptir; seed 0, mean over images"), "the others have no results"
    summary = {"origin": "published weights", "label": "PromptIR", "weights_file": "a.ckpt", "weights_digest": "9" * 16}
    folder = make_run(tmp_path, "PromptIR-00000001", 0, rows([33.0]), summary=summary)
    folder.rename(folder.with_name("weights"))
    drawn = scores.draw_gain(data_of(tmp_path), tmp_path)
    assert "PromptIR (published weights): gain 13.00 dB" in texts(drawn), "it has no seed"


def test_figures_leave_out_what_the_table_leaves_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for rank in (4, 8, 16):
        table = rows([30.0 + rank]) + rows([10.0], "rain100l")
        make_run(tmp_path, f"a-000000{rank:02}", 0, table, experts={"rank": rank})
    drawn = []
    monkeypatch.setattr(figures, "draw", lambda data, *_: drawn.append(data) or [])
    monkeypatch.setattr(study_files.report, "write", lambda *_, **__: tmp_path / "report.html")
    only = {"experts.rank": [4, 8], "benchmark": ["cbsd68_sigma25"]}
    collated = frame(tmp_path, "rank")
    table = study_table(collated, TableSpec(rows=["experts.rank"], only=only, resamples=200), "rank")
    made = study_files.Made("", table, [], [], TableLook(), Names())
    composed = Composer(conf_dir()).compose(["task=collate", "study=rank", f"paths.runs={tmp_path}"])
    study_files.illustrate(validate(composed), [made], collated, tmp_path, tmp_path, study_files.Reporter(False))
    (data,) = drawn
    assert list(data.names.values()) == ["rank 4", "rank 8"] and data.benchmarks == ["cbsd68_sigma25"]


def test_the_difference_of_an_average_is_of_seeds_with_all_benchmarks(tmp_path: Path) -> None:
    """Else one seed's advantage on one benchmark would be added to another's on another."""
    for seed in (0, 1):
        make_run(tmp_path, "a-00000004", seed, rows([30.0]) + rows([30.0], "rain100l"), experts={"rank": 4})
    make_run(tmp_path, "a-00000008", 0, rows([29.0]) + rows([30.5], "rain100l"), experts={"rank": 8})
    make_run(tmp_path, "a-00000008", 1, rows([33.0]), experts={"rank": 8})
    numbers = table_of(tmp_path, metrics=["psnr"], reference={"experts.rank": 4}).numbers
    average = numbers[(numbers["row"] == 1) & (numbers["column"] == -1)].iloc[0]
    assert (average["mean"], average["delta"], average["seeds"]) == (29.75, pytest.approx(-0.25), 1)


def test_no_average_is_over_several_protocols(tmp_path: Path) -> None:
    for rank in (4, 8):
        table = rows([30.0]) + rows([40.0], "rain100l", protocol="basicsr_y")
        make_run(tmp_path, f"a-0000000{rank}", 0, table, experts={"rank": rank})
    with pytest.raises(UserError, match="averages: all would average over several protocols"):
        table_of(tmp_path, averages={"all": ["cbsd68_sigma25", "rain100l"]})
    assert not table_of(tmp_path).averages


def test_a_column_of_several_benchmarks_says_that_these_weigh_the_same(tmp_path: Path) -> None:
    for rank in (4, 8):
        table = rows([20.0]) + rows([40.0, 40.0, 40.0], "rain100l")
        make_run(tmp_path, f"a-0000000{rank}", 0, table, experts={"rank": rank})
    table = table_of(tmp_path, columns=["degradation"], degradations={"cbsd68_sigma25": "x", "rain100l": "x"})
    assert table.numbers["mean"].iloc[0] == 30.0
    assert "mean over images, then over the benchmarks of a column (" in next(layout.notes(table))
    assert "then over" not in next(layout.notes(table_of(tmp_path)))


def test_curves_do_without_waiting_seeds_and_say_where_they_end() -> None:
    def logged(last: int) -> list[dict]:
        return [{"step": step, "val/psnr": 20.0 + step} for step in range(10, last + 1, 10)]

    assert len(curves._band([logged(50), []], "val/psnr")) == 5
    assert not curves._cut([logged(50), []], "val/psnr") and curves._cut([logged(50), logged(20)], "val/psnr")


def test_a_legend_names_what_is_in_any_panel(kept: dict, tmp_path: Path) -> None:
    steps = [{"step": step, "train/loss": 1.0, "val/psnr": 20.0} for step in (1, 2)]
    lines = {"a": [steps], "b": [[{k: v for k, v in line.items() if k != "val/psnr"} for line in steps]]}
    curves.draw_lines(lines, curves.PANELS, tmp_path)
    (legend,) = kept["curves"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b"]


def test_a_run_whose_process_is_gone_is_not_said_to_be_running(tmp_path: Path) -> None:
    dead = {"state": "running", "host": socket.gethostname(), "pid": 2**22 - 1, "started": "2026-11-01T10:00:00+00:00"}
    lives = {**dead, "pid": os.getpid(), "started": "2100-01-01T10:00:00+00:00"}
    for seed, status in enumerate((dead, lives)):
        make_run(tmp_path, "a-00000004", seed, None, status=status)
    assert frame(tmp_path, "rank").runs["state"].tolist() == ["interrupted", "running"]
    assert json.loads((tmp_path / "rank/a-00000004/seed0/status.json").read_text())["state"] == "running"


def test_hidden_rows_and_columns_count_among_the_tests(tmp_path: Path) -> None:
    """Else an author could get a mark by hiding what shows none."""
    rng = np.random.default_rng(0)
    for rank in (2, 4, 8, 16):
        for seed in range(3):
            values = [list(30.0 + 0.05 * rank + 0.3 * rng.standard_normal(12)) for _ in range(2)]
            table = rows(values[0]) + rows(values[1], "rain100l")
            make_run(tmp_path, f"a-000000{rank:02}", seed, table, experts={"rank": rank})
    reference = {"experts.rank": 2}
    whole = table_of(tmp_path, reference=reference)
    part = table_of(tmp_path, reference=reference, only={"experts.rank": [2, 16], "benchmark": ["rain100l"]})
    assert whole.tests == part.tests == 3 * 2 * 2
    shown = part.numbers[(part.numbers["row"] == 1) & (part.numbers["column"] == 0)].set_index("metric")["p_holm"]
    (row,) = (i for i, name in enumerate(whole.rows.names) if name == ("16",))
    (column,) = (i for i, name in enumerate(whole.columns.names) if name == ("rain100l",))
    same = whole.numbers[(whole.numbers["row"] == row) & (whole.numbers["column"] == column)].set_index("metric")
    assert shown.to_dict() == pytest.approx(same["p_holm"].to_dict())
    assert any("over all 12 tests" in note for note in layout.notes(part, TableLook(), Names()))


def test_gain_beside_psnr_is_no_further_test(tmp_path: Path) -> None:
    """Their differences are the same, so counting both would only make every mark harder to get."""
    rng = np.random.default_rng(0)
    for rank in (2, 4, 8):
        for seed in range(3):
            make_run(
                tmp_path, f"a-0000000{rank}", seed, rows(list(30.0 + rank + rng.random(12))), experts={"rank": rank}
            )
    for plan in ({}, {"only": {"experts.rank": [2, 8]}}):
        of_one, of_both = (
            table_of(tmp_path, reference={"experts.rank": 2}, metrics=metrics, **plan)
            for metrics in (("psnr",), ("gain", "psnr"))
        )
        assert of_one.tests == of_both.tests == 2
        expected = of_one.numbers.set_index(["row", "column"])["p_holm"].dropna()
        for metric, lines in of_both.numbers.dropna(subset="p_holm").groupby("metric"):
            assert lines.set_index(["row", "column"])["p_holm"].to_dict() == pytest.approx(expected.to_dict()), metric


def test_what_only_shows_may_be_tested_otherwise_than_in_the_whole_study(tmp_path: Path) -> None:
    """One protocol of two has columns of other names, one benchmark of a degradation is tested, one seed otherwise."""
    rng = np.random.default_rng(0)
    for rank in (2, 4):
        for seed in range(3):
            gain = 0.05 * rank + 0.3 * rng.standard_normal(12)
            table = rows(list(30.0 + gain)) + rows(list(29.0 + gain), "rain100l")
            other = [line | {"protocol": "basicsr_rgb"} for line in table]
            make_run(tmp_path, f"a-000000{rank:02}", seed, table + other, experts={"rank": rank})
    reference = {"experts.rank": 2}
    noise = {"cbsd68_sigma25": "noise", "rain100l": "noise"}
    by_degradation = {"columns": ("degradation",), "degradations": noise}
    for plan, tests in (
        ({"only": {"protocol": ["promptir"]}}, 8),  # columns without the protocol in their names, and with it
        ({**by_degradation, "only": {"protocol": ["promptir"], "benchmark": ["rain100l"]}}, 2),
        ({"only": {"protocol": ["promptir"], "seed": [0]}}, 8),
    ):
        table = table_of(tmp_path, reference=reference, **plan)
        shown = table.numbers[table.numbers["p_holm"].notna()]
        assert len(shown) and table.tests == tests, plan
        own = shown["p"].fillna(shown["p_images"])
        assert (shown["p_holm"] >= own - 1e-12).all() and shown["p"].isna().all() == ("seed" in plan["only"])
