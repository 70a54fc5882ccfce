"""Tables for readers: each format against a file, published rows and why they are left out.

To renew the files after a change that is meant: DAAIR_SNAPSHOTS=write python -m pytest tests/report/test_layout.py
"""

import io
import os
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from synthetic import make_run, rows

from daair.errors import UserError
from daair.report import differences, latex, layout, published, writers
from daair.report.frame import frame
from daair.report.layout import shortest_paths
from daair.report.names import Names
from daair.report.table import StudyTable, TableSpec, study_table
from daair.report.writers import Block, Cell, Part

SNAPSHOTS = Path(__file__).parent / "snapshots"
REFERENCE = Path(__file__).parents[2] / "conf" / "reference"
SIX = (30.0, 31.0, 32.0, 33.0, 34.0, 35.0)


def a_study(tmp_path: Path, **plan) -> StudyTable:
    """Three labels, one of which lacks a seed and one of which has signs that formats must escape."""
    for k, (label, gains) in enumerate(
        {"full": (0.0, 0.1, 0.2), "no_router": (-0.3, None, -0.1), "x&y|<50%>": (0.1, 0.1, 0.1)}.items()
    ):
        for seed, gain in enumerate(gains):
            table = rows([v + (gain or 0) for v in SIX]) + rows([20 + k + (gain or 0)], "rain100l")
            status = {"state": "running"} if gain is None else {}
            make_run(tmp_path, f"v{k}-0000000{k}", seed, table, label=label, optimizer={"note": label}, status=status)
    plan = {"rows": ("optimizer.note",), "reference": {"optimizer.note": "full"}, "resamples": 200, **plan}
    return study_table(frame(tmp_path, "rank"), TableSpec(**plan), "rank", "Is 50 % enough?")


def check(name: str, text: str) -> None:
    file = SNAPSHOTS / name
    if os.environ.get("DAAIR_SNAPSHOTS") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.fixture
def parts(tmp_path: Path) -> tuple[StudyTable, list[Block], list[str]]:
    study = a_study(tmp_path)
    block = layout.blocks(study)[0]
    names = [[Cell("A paper's"), *[Cell("–")] * 3, Cell(), Cell("36"), Cell(), Cell()]]
    blocks = layout.blocks(study)
    blocks[0] = Block(block.title, block.header, block.rows, block.names, [Part("as published", names, published=True)])
    return study, blocks, list(layout.notes(study))


def test_markdown(parts) -> None:
    study, blocks, notes = parts
    check("table.md", writers.to_markdown(blocks, notes, study.question))


def test_latex(parts) -> None:
    study, blocks, notes = parts
    check("table.tex", latex.to_latex(blocks, notes, latex.Style(caption=study.question)))


def test_csv(parts) -> None:
    text = layout.numbers_csv(parts[0])
    table = pd.read_csv(io.StringIO(text))
    assert set(table["metric"]) == {"psnr", "ssim", "parameters", "macs", "images_per_second"}
    assert table["reference"].sum() == 9 and table.loc[table["p_holm"].notna(), "column"].nunique() == 2
    check("table.csv", table.round(9).to_csv(index=False))  # the last digits are the machine's


def test_html(parts) -> None:
    text = writers.to_html(parts[1])
    check("table.html", text)

    class Balanced(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.open, self.cells = [], 0

        def handle_starttag(self, tag, attributes) -> None:
            self.open.append(tag)
            self.cells += tag == "td"

        def handle_endtag(self, tag) -> None:
            assert self.open.pop() == tag

    page = Balanced()
    page.feed(text)
    assert not page.open and page.cells == 4 * 8 + 3 * 5


def test_terminal(parts) -> None:
    console = Console(width=250, record=True, file=io.StringIO())
    writers.show(parts[1][0], console)
    text = console.export_text()
    assert "no_router" in text and "(2/3)" in text and "x&y|<50%>" in text


def test_marks_deltas_and_gaps(tmp_path: Path) -> None:
    study = a_study(tmp_path, alpha=0.3)  # 4 tests on six images: p = 0.03 each, 0.125 after Holm; one image: p = 1
    first, second = layout.blocks(study)
    texts = [[cell.text for cell in line] for line in first.rows]
    assert first.header == [
        "optimizer.note",
        "cbsd68_sigma25",
        "rain100l",
        "average",
        "Δ average",
        "params, M",
        "MACs, G",
        "images/s",
    ]
    assert texts[0] == ["full", "32.60 ± 0.10", "20.10 ± 0.10", "26.35 ± 0.10", "ref.", "0.50", "1.00", "30.0"]
    assert texts[1][1:5] == ["32.30† ± 0.14 (2/3)", "20.80 ± 0.14 (2/3)", "26.55 ± 0.14 (2/3)", "+0.20"]
    assert texts[2][1] == "32.60 ± 0.00" and [cell.bold for cell in first.rows[2][1:4]] == [True, True, True]
    assert [cell.bold for cell in first.rows[0][1:4]] == [True, False, False] and first.rows[0][2].underlined
    assert second.title == "SSIM ↑" and len(second.header) == 5
    notes = " ".join(layout.notes(study))
    for text in (
        "Protocol promptir; mean ± standard deviation over seeds 0, 1, 2 of the mean over images (cbsd68_sigma25 6, ",
        "Δ: difference to optimizer.note = full (ref.). * differs from the reference beyond the chance of images and",
        "† these networks differ from the reference's, on images like these; fewer than 3 seeds, or a single image,",
        "Marks: p < 0.3 after Holm's correction over all 8 tests, and the 70 % interval excludes 0.",
        "100 updates of 4 crops of 64 pixels. Hardware: A Processor. Commit ccccccc; runs of 2026-11-01.",
        "Fewer than 3 images cannot reach p < 0.3, whatever they show.",
    ):
        assert text in notes, notes


def test_a_star_survives_images_and_seeds(tmp_path: Path) -> None:
    """Three seeds: with gains that agree there is a star, with gains that differ as much as they are large, none."""
    wobble = (0.00, 0.01, -0.01, 0.02, -0.02, 0.00)
    for rank, gains in {1: (0.0, 0.0, 0.0), 2: (0.48, 0.5, 0.52), 4: (0.1, 1.5, -0.1)}.items():
        for seed, gain in enumerate(gains):
            table = rows([v + gain + rank * w for v, w in zip(SIX, wobble, strict=True)])
            make_run(tmp_path, f"a-{rank:08x}", seed, table, experts={"rank": rank})
    study = study_table(frame(tmp_path), TableSpec(metrics=("psnr",), reference={"experts.rank": 1}, resamples=200))
    (block,) = layout.blocks(study)
    assert [line[1].text for line in block.rows] == ["32.50 ± 0.00", "33.00* ± 0.02", "33.00 ± 0.87"]
    assert "images like these" not in " ".join(layout.notes(study))
    found = study.numbers.set_index(["metric", "row"]).loc["psnr", 2]
    assert found["p_images"] < 0.05 < found["p"]  # what stars meant when seeds did not count
    spans = differences.intervals(study)
    assert spans.header[3:6] == ["Δ", "95 % interval, images and seeds", "95 % interval, these networks"]
    assert [cell.text for cell in spans.rows[0][:3]] == ["2", "cbsd68_sigma25", "PSNR"]
    named = differences.intervals(study, Names({"experts.rank": "rank", "cbsd68_sigma25": "σ=25"}))
    assert named.header[0] == "rank" and named.rows[0][1].text == "σ=25"
    assert spans.rows[0][3].text == "+0.50*" and spans.rows[0][4].text == "+0.45 to +0.55"
    assert spans.rows[1][3].text == "+0.50" and spans.rows[1][4].text.startswith("−")


def test_no_tests_are_not_spoken_of(tmp_path: Path) -> None:
    make_run(tmp_path, "a-00000004", 0, rows([30.0]), experts={"rank": 4})
    make_run(tmp_path, "a-00000008", 0, None, experts={"rank": 8}, status={"state": "running"})
    study = study_table(frame(tmp_path), TableSpec(reference={"experts.rank": 4}))
    notes = " ".join(layout.notes(study))
    assert "Δ: difference to experts.rank = 4 (ref.)." in notes and differences.intervals(study) is None
    assert not any(word in notes for word in ("Holm", "p <", "tests", "Marks"))


def test_values_that_are_not_finite_are_counted_and_named_and_neither_averaged_nor_ranked(tmp_path: Path) -> None:
    inf, nan = float("inf"), float("nan")
    black = {"a.png": 30.0, "black.png": inf}
    for rank, psnr in {1: black, 2: {"a.png": 31.0, "black.png": 40.0}, 4: {"a.png": nan, "black.png": inf}}.items():
        table = [{**row, "ssim": 0.9} for row in rows(psnr, input_psnr=inf)]
        make_run(tmp_path, f"a-{rank:08x}", 0, table, experts={"rank": rank})
    study = study_table(frame(tmp_path), TableSpec(reference={"experts.rank": 2}))
    psnr, ssim = layout.blocks(study)
    assert [line[1].text for line in psnr.rows] == ["30.00‡", "35.50", "–‡"]
    assert not any(line[1].bold or line[1].underlined for line in psnr.rows), "one value alone is not the best"
    assert [line[1].text for line in ssim.rows] == ["0.9000"] * 3
    notes = " ".join(layout.notes(study))
    assert (
        "‡ PSNR: 3 values not finite, left out of the mean and not ranked: cbsd68_sigma25 black.png in "
        "rank/a-00000001/seed0 (inf), cbsd68_sigma25 a.png in rank/a-00000004/seed0 (nan), " in notes
    )
    numbers = study.numbers.set_index(["metric", "row"]).loc["psnr"]
    assert numbers["not_finite"].tolist() == [1, 0, 2] and numbers["paired_images"].tolist()[0] == 1
    assert "inf" not in layout.numbers_csv(study).replace("not_finite", "")
    assert "PSNR cbsd68_sigma25 nan" not in notes and "(without 2 not finite)" in notes


def test_a_seed_without_finite_values_is_not_missing(tmp_path: Path) -> None:
    for seed, psnr in enumerate((30.0, 31.0, float("inf"))):
        make_run(tmp_path, "a-00000001", seed, rows([psnr, psnr]) + rows([30.0], "rain100l"))
    study = study_table(frame(tmp_path), TableSpec(metrics=("psnr",)))
    (block,) = layout.blocks(study)
    assert [cell.text for cell in block.rows[0][1:4]] == ["30.50‡ ± 0.71", "30.00 ± 0.00", "30.25‡ ± 0.35"]
    assert not any("missing seeds" in note for note in study.notes)


def test_one_seed_has_no_deviation_and_one_column_no_average(tmp_path: Path) -> None:
    for rank in (4, 8):
        make_run(tmp_path, f"a-0000000{rank}", 0, rows([30.0 + rank]), experts={"rank": rank})
    (block, _) = layout.blocks(study_table(frame(tmp_path), TableSpec(reference={"experts.rank": 4})))
    assert [cell.text for cell in block.rows[1][:3]] == ["8", "38.00", "+4.00"]
    assert block.header[:3] == ["experts.rank", "cbsd68_sigma25", "Δ"]


def test_updates_are_shown_where_runs_stopped_early(tmp_path: Path) -> None:
    for rank, made in ((4, 60), (8, 80)):
        given = {"experts": {"rank": rank}, "train": {"stop_after": 2}, "status": {"steps": made}}
        make_run(tmp_path, f"a-0000000{rank}", 0, rows([30.0], step=made), **given)
    study = study_table(frame(tmp_path), TableSpec(metrics=("psnr",)))
    (block,) = layout.blocks(study)
    assert block.header[-1] == "updates" and [line[-1].text for line in block.rows] == ["60", "80"]
    assert "up to 100 updates of 4 crops" in " ".join(layout.notes(study))


AIO3 = {"cbsd68_sigma15": 68, "cbsd68_sigma25": 68, "cbsd68_sigma50": 68, "rain100l": 100, "sots_outdoor": 500}


def test_versions_of_the_users_own_code_are_told(tmp_path: Path) -> None:
    for seed, digest in enumerate(("11111111", "22222222")):
        codes = {"myrouter": digest, "mynet": "33333333"}
        make_run(tmp_path, "a-00000001", seed, rows([30.0]), environment={"own_code": codes})
    make_run(tmp_path, "a-00000001", 4, rows([30.0]), environment={"own_code": {"mynet": "33333333+44444444"}})
    make_run(tmp_path, "a-00000001", 2, rows([30.0]), environment={"own_code": {"odd": "no digest, at all", "x": ""}})
    make_run(tmp_path, "a-00000001", 3, rows([30.0]), environment={"own_code": ["odd"]})
    notes = " ".join(layout.notes(study_table(frame(tmp_path), TableSpec(metrics=("psnr",)))))
    assert (
        "Code of one's own: 2 versions of myrouter (11111111, 22222222), 2 versions of mynet (33333333, 44444444)."
        in notes
    )


def measured_on(tmp_path: Path, protocol: str = "promptir", **counts: int) -> StudyTable:
    table = [row for name, count in counts.items() for row in rows([30.0] * count, name, protocol=protocol)]
    make_run(tmp_path, "a-00000001", 0, table)
    return study_table(frame(tmp_path), TableSpec())


def test_published_rows_with_the_same_benchmarks_and_protocol(tmp_path: Path) -> None:
    methods = published.load(["aio3/PromptIR", "aio3/MoCE-IR", "aio3/AirNet"], REFERENCE)
    study = measured_on(tmp_path, **AIO3)
    beside, left_out = published.published_rows(study, methods)
    psnr, ssim = layout.blocks(study, beside)
    assert [[cell.text for cell in line] for line in psnr.parts[-1].rows] == [
        ["PromptIR", "33.98", "31.31", "28.06", "36.37", "30.58", "32.06", "36", "", ""],
        ["MoCE-IR", "34.11", "31.45", "28.18", "38.57", "31.34", "32.73", "25", "", ""],
        ["AirNet", "33.92", "31.26", "28.00", "34.90", "27.94", "31.20", "9", "", ""],
    ]
    assert [line[0].text for line in ssim.parts[-1].rows] == ["PromptIR", "AirNet"]
    assert left_out == ["Left out of the published rows: SSIM by protocol moceir, here promptir (MoCE-IR)."]
    assert not any(cell.bold or cell.underlined for line in psnr.parts[-1].rows for cell in line)


def test_published_rows_that_do_not_compare_say_why(tmp_path: Path) -> None:
    methods = published.load(["aio3/PromptIR", "aio5/SwinIR"], REFERENCE)
    study = measured_on(tmp_path, rain100l=100, cbsd68_sigma25=34, demo_rain=3)
    beside, (note,) = published.published_rows(study, methods)
    psnr, ssim = layout.blocks(study, beside)
    assert [cell.text for cell in psnr.parts[-1].rows[0]] == ["PromptIR", "36.37", "–", "–", "–", "36", "", ""]
    assert [line[0].text for line in ssim.parts[-1].rows] == ["PromptIR"]
    for reason in (
        "cbsd68_sigma25 has 34 of 68 images here (PromptIR, SwinIR)",
        "demo_rain is not published (PromptIR, SwinIR)",
        "SSIM of unknown protocol (SwinIR)",
    ):
        assert reason in note
    y = published.published_rows(measured_on(tmp_path / "y", "basicsr_y", rain100l=100), methods)
    assert y[0] == [] and "PSNR by protocol promptir or moceir, here basicsr_y (PromptIR, SwinIR)" in y[1][0]


def test_published_names() -> None:
    assert len(published.load(["aio3"], REFERENCE)) == 13
    assert [m.name for m in published.load(["aio5/MoCE-IR", "aio5/MoCE-IR"], REFERENCE)] == ["MoCE-IR"]
    with pytest.raises(UserError, match=r"collate.published: no aio4; did you mean aio"):
        published.load(["aio4"], REFERENCE)
    with pytest.raises(UserError, match=r"collate.published: no PromtIR in aio3; did you mean PromptIR\?"):
        published.load(["aio3/PromtIR"], REFERENCE)


@pytest.mark.parametrize("file", ["aio3", "aio5"])
def test_published_averages_are_the_means_of_their_columns(file: str) -> None:
    """What the average column assumes: each benchmark, each noise level, with the same weight."""
    off = {}
    for method in published.load([file], REFERENCE):
        figures = [float(line["psnr_db"]) for name, line in method.lines.items() if name != "average"]
        if "average" in method.lines:
            off[method.name] = abs(sum(figures) / len(figures) - float(method.lines["average"]["psnr_db"]))
    assert len(off) >= 12 and sorted(off.values())[len(off) // 2] < 0.011, off


def test_weights_are_named_by_as_much_of_their_path_as_tells_them_apart():
    one, two, other = "/a/runs/base/x-1/seed0", "/a/runs/base/x-1/seed1", "/b/runs/more/x-1/seed0"
    assert shortest_paths(["none", one, two]) == {"none": "none", one: "x-1/seed0", two: "x-1/seed1"}
    assert shortest_paths([one, other]) == {one: "base/x-1/seed0", other: "more/x-1/seed0"}
    assert shortest_paths(["a/w.pth", "w.pth"]) == {"a/w.pth": "a/w.pth", "w.pth": "w.pth"}
    assert shortest_paths(["/x", "x"]) == {"/x": "/x", "x": "x"} and shortest_paths([]) == {}


def test_no_cell_of_a_csv_file_is_a_formula() -> None:
    table = pd.DataFrame({"=key": ["=cmd()", "+1+1", "@x", "-y", "plain", None], "psnr": [-1.5, 2, 3, 4, 5, 6]})
    lines = writers.to_csv(table).splitlines()
    assert lines == ["'=key,psnr", "'=cmd(),-1.5", "'+1+1,2.0", "'@x,3.0", "'-y,4.0", "plain,5.0", ",6.0"]
