"""What an author asks of a table: how it looks, in which order, what it leaves out; and that LaTeX compiles it."""

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_run, rows

from daair.config.table_look import TableLook, parse_table, read_tables
from daair.data.benchmarks import BENCHMARKS
from daair.errors import UserError
from daair.report import latex, layout, published, writers
from daair.report.frame import Collated, frame
from daair.report.names import Names, read_names
from daair.report.table import TableSpec, study_table
from daair.report.writers import Block, Cell

REFERENCE = Path(__file__).parents[2] / "conf" / "reference"
NAMES = REFERENCE / "names.yaml"
COUNTS = {"cbsd68_sigma15": 68, "cbsd68_sigma25": 68, "rain100l": 100, "sots_outdoor": 500}
ENGINES = ("pdflatex", "xelatex", "lualatex", "tectonic")
RUNS = ("plain", "no_router", "ours & <50%> [é≥漢]")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Collated:
    """Three labels, two mixes, two seeds; the last seed of `no_router` is missing."""
    folder = tmp_path_factory.mktemp("runs")
    for k, label in enumerate(RUNS):
        for seed in (0, 1):
            table = [
                row
                for i, (name, count) in enumerate(COUNTS.items())
                for row in rows([30 + i + k / 4 + seed / 10] * count, name)
            ]
            state = {"state": "running"} if (k, seed) == (1, 1) else {}
            keys = {"optimizer": {"note": label}, "choices": {"mix": "aio3" if k else "denoise"}, "status": state}
            make_run(folder, f"v{k}-0000000{k}", seed, None if state else table, experts={"rank": 2**k}, **keys)
    return frame(folder, "rank")


class Table:
    """A table of the study: the blocks, and each format."""

    def __init__(self, study: Collated, look: dict, papers=(), **spec) -> None:
        self.look: TableLook = parse_table(look, "collate.table")
        self.names: Names = read_names(NAMES, self.look.names)
        asked = {"rows": ("optimizer.note",), "metrics": ("psnr",), "resamples": 100, **spec}
        asked |= {"only": self.look.only or {}, "averages": self.look.averages, "degradations": self.names.degradations}
        table = study_table(study, TableSpec(**asked), "rank", "Why?")
        methods = published.load([str(paper) for paper in papers], REFERENCE)
        beside, self.reasons = published.published_rows(table, methods, bool(self.look.subsets))
        self.blocks = layout.blocks(table, beside, self.look, self.names)
        self.notes = [*layout.notes(table, self.look, self.names), *layout.as_published(table, beside, self.look)]
        self.block = self.blocks[0]

    @property
    def texts(self) -> list[list[str]]:
        """Return the texts of all rows of the first block."""
        return [[cell.text for cell in cells] for part in self.block.sections for cells in part.rows]

    @property
    def first(self) -> list[str]:
        """Return the names of the rows."""
        return [line[0] for line in self.texts]

    @property
    def tex(self) -> str:
        style = latex.Style(
            environment=self.look.environment or "table*",
            caption=self.look.caption or "Why?",
            label=self.look.label or "rank",
            raw=self.names.latex,
            siunitx=bool(self.look.siunitx),
        )
        return latex.to_latex(self.blocks, self.notes, style)


PLAIN = {"hide": ["costs", "spread", "delta"]}


def test_heads_have_display_names(study: Collated) -> None:
    table = Table(study, PLAIN)
    assert table.block.header == ["optimizer.note", "CBSD68 σ=15", "CBSD68 σ=25", "Rain100L", "SOTS", "average"]
    assert r"CBSD68 $\sigma{=}25$ & Rain100L" in table.tex and "CBSD68 σ=15 68" in table.notes[0]


def test_every_benchmark_has_a_display_name_of_its_own() -> None:
    names = read_names(NAMES)
    headings = [names.of(name) for name in BENCHMARKS]
    own = {name for name in BENCHMARKS if not name.startswith("cdd11")}  # mixtures, whose names say what they are
    assert len(set(headings)) == len(headings) and own == set(BENCHMARKS) & set(names.texts)
    assert own == set(BENCHMARKS) & set(names.degradations)


def test_own_names_and_latex(study: Collated) -> None:
    own = {"optimizer.note": "Method", "plain": {"text": "Plain", "latex": r"\textsc{Plain}~\cite{x}"}, "psnr": "P"}
    table = Table(study, {**PLAIN, "names": own, "metrics_in": "columns"})
    assert table.block.header[:2] == ["Method", "P"] and table.first[-1] == "Plain"
    assert r"\textsc{Plain}~\cite{x} & " in table.tex


def test_decimals(study: Collated) -> None:
    assert Table(study, {**PLAIN, "decimals": 3}).texts[1][1] == "30.550"
    table = Table(study, {**PLAIN, "decimals": {"ssim": 2}}, metrics=("psnr", "ssim"))
    assert [block.rows[1][1].text for block in table.blocks] == ["30.55", "0.31"]
    assert sum(cells[1].bold for cells in Table(study, {**PLAIN, "decimals": 0}).block.rows) == 1  # 31 against 30


def test_caption_label_and_environment(study: Collated) -> None:
    tex = Table(study, {"caption": "50 % & more", "label": "main", "environment": "table"}).tex
    assert r"\begin{table}" in tex and r"\caption{50 \% \& more}" in tex and r"\label{tab:main}" in tex
    bare = Table(study, {"environment": "tabular"}).tex
    assert "caption" not in bare and "minipage" not in bare and bare.count(r"\begin{tabular}") == 1
    assert r"\begin{table*}" in Table(study, {}).tex


def test_transposed(study: Collated) -> None:
    plan = {"rows": ("benchmark",), "columns": ("optimizer.note",), "reference": {"optimizer.note": "plain"}}
    table = Table(study, {}, **plan)
    assert table.block.header == ["", "no_router", RUNS[2], "plain"]
    assert table.first == [
        *("CBSD68 σ=15", "CBSD68 σ=25", "Rain100L", "SOTS", "average", "Δ average", "params, M", "MACs, G", "images/s")
    ]
    assert table.texts[5] == ["Δ average", "+0.25", "+0.50", "ref."]
    assert Table(study, {}, rows=("benchmark",)).first[0] == "CBSD68 σ=15"  # runs by the keys that differ


def test_order_of_rows_and_columns(study: Collated) -> None:
    order = {"benchmark": ["sots_outdoor", "rain100l"], "experts.rank": [4, 1]}
    table = Table(study, {**PLAIN, "order": order}, rows=("experts.rank",))
    assert table.first == ["4", "1", "2"]
    assert table.block.header[1:] == ["SOTS", "Rain100L", "CBSD68 σ=15", "CBSD68 σ=25", "average"]


def test_only_some_rows_and_columns(study: Collated) -> None:
    table = Table(study, {**PLAIN, "only": {"experts.rank": [1, 4], "benchmark": ["rain100l"]}})
    assert table.first == [RUNS[2], "plain"] and table.block.header[1:] == ["Rain100L"]


def test_hidden_parts(study: Collated) -> None:
    whole = Table(study, {}, reference={"optimizer.note": "plain"}).block.header
    assert whole[-5:] == ["average", "Δ average", "params, M", "MACs, G", "images/s"]
    hide = ["delta", "images_per_second", "macs", "spread", "average", "stars"]
    table = Table(study, {"hide": hide}, reference={"optimizer.note": "plain"})
    assert table.block.header[-2:] == ["SOTS", "params, M"] and table.texts[1][1] == "30.55"
    assert "images/s" not in " ".join(table.notes) and "deviation" not in table.notes[0]


def test_columns_by_degradation(study: Collated) -> None:
    table = Table(study, PLAIN, columns=("degradation",))
    assert table.block.header[1:] == ["denoising", "deraining", "dehazing"]
    assert table.texts[1][1] == "31.05"  # the mean of both noise levels
    over = Table(study, PLAIN, columns=("degradation", "benchmark"))
    assert over.block.over == [("", 1), ("denoising", 2), ("deraining", 1), ("dehazing", 1), ("", 1)]
    assert r"\multicolumn{2}{c}{denoising}" in over.tex and r"\cmidrule(lr){2-3}" in over.tex
    assert '<th colspan="2">denoising</th>' in writers.to_html(over.blocks)
    assert "| denoising CBSD68 σ=15 |" in writers.to_markdown(over.blocks)


def test_averages_over_some_benchmarks(study: Collated) -> None:
    averages = {"noise": ["cbsd68_sigma15", "cbsd68_sigma25"], "all": [*COUNTS]}
    table = Table(study, {**PLAIN, "averages": averages})
    assert table.block.header[-2:] == ["noise", "all"] and table.texts[-1][-2:] == ["30.55", "31.55"]
    assert "Noise: mean over CBSD68 σ=15, CBSD68 σ=25." in table.notes and "All: mean over the columns." in table.notes


def test_several_metrics_in_a_cell(study: Collated) -> None:
    look = {**PLAIN, "metrics_in": "cells", "decimals": {"ssim": 3}}
    table = Table(study, look, metrics=("psnr", "ssim"))
    assert len(table.blocks) == 1 and table.block.title == "PSNR ↑ (dB) / SSIM ↑"
    best = table.block.rows[1][1]
    assert best.text == "30.55/0.305" and [part.bold for part in best.parts] == [True, True]
    assert r"\textbf{30.55}/\textbf{0.305}" in table.tex and "**30.55**/**0.305**" in writers.to_markdown(table.blocks)


def test_metrics_side_by_side(study: Collated) -> None:
    table = Table(study, {**PLAIN, "metrics_in": "columns"}, metrics=("psnr", "ssim"))
    assert table.block.over[1:3] == [("CBSD68 σ=15", 2), ("CBSD68 σ=25", 2)]
    assert table.block.header[1:3] == ["PSNR ↑", "SSIM ↑"]


def test_groups_by_a_key_with_rules_between(study: Collated) -> None:
    look = {**PLAIN, "groups": "mix", "names": {"aio3": "All in one", "denoise": "Single task"}}
    table, turned = Table(study, look), Table(study, {**look, "order": {"mix": ["denoise", "aio3"]}})
    assert [(part.title, len(part.rows)) for part in table.block.sections] == [("All in one", 2), ("Single task", 1)]
    assert table.tex.count(r"\midrule") == 3
    assert [part.title for part in turned.block.sections] == ["Single task", "All in one"]


def test_groups_of_named_rows_and_papers(study: Collated) -> None:
    groups = {"Single task": ["BRDNet", "plain"], "All in one": ["PromptIR"]}
    table = Table(study, {**PLAIN, "groups": groups}, ["aio3/PromptIR", "aio3/BRDNet"])
    assert [part.title for part in table.block.sections] == ["Single task", "All in one", ""]
    assert table.first == ["BRDNet", "plain", "PromptIR", "no_router", RUNS[2]]
    assert "As published: PromptIR, BRDNet." in table.notes


def marked(table: Table) -> dict[str, str]:
    """Return `b` and `u` of the first column by the row's name."""
    cells = [cells for part in table.block.sections for cells in part.rows]
    return {line[0].text: "b" * line[1].bold + "u" * line[1].underlined for line in cells}


def test_best_and_second(study: Collated) -> None:
    papers, own, ours = ["aio3/PromptIR"], {**PLAIN, "groups": {"A": ["plain"], "B": ["PromptIR"]}}, RUNS[2]
    assert marked(Table(study, own, papers)) == {"plain": "u", "PromptIR": "", "no_router": "", ours: "b"}
    assert marked(Table(study, {**own, "best": "all"}, papers))["PromptIR"] == "b"
    assert set(marked(Table(study, {**own, "best": "groups"}, papers)).values()) == {""}, "each is alone in its group"
    pairs = {**own, "best": "groups", "groups": {"A": ["plain", "PromptIR"]}}
    assert marked(Table(study, pairs, papers)) == {"plain": "u", "PromptIR": "b", "no_router": "", ours: ""}
    assert set(marked(Table(study, {**own, "best": "none"}, papers)).values()) == {""}


def test_numbers_in_latex(study: Collated) -> None:
    plan = {"metrics": ("psnr",), "reference": {"optimizer.note": RUNS[2]}}
    tex = Table(study, {}, **plan).tex
    assert r"30.05$^\dagger$\,$\pm$\,0.07" in tex and "$-$0.50" in tex
    tex = Table(study, {"siunitx": True}, **plan).tex
    assert r"\num{30.05 +- 0.07}" in tex and r"\num{-0.50}" in tex and "siunitx" in tex


def own_csv(folder: Path, text: str) -> Path:
    file = folder / "mine.csv"
    file.write_text(text)
    return file


def test_rows_from_a_file_of_ones_own(study: Collated, tmp_path: Path) -> None:
    lines = [f"Mine,{name},{30 + i}.5" for i, name in enumerate(COUNTS)] + ["Half,rain100l,31.00"]
    file = own_csv(tmp_path, "\n".join(["method,benchmark,psnr", *lines]))
    look = {"hide": ["costs"]}
    table = Table(study, look, [file], reference={"optimizer.note": "plain"})
    assert table.texts[-2] == ["Mine", "30.5", "31.5", "32.5", "33.5", "32.0", "+0.45"]
    assert table.texts[-1] == ["Half", "–", "–", "31.00", "–", "–", ""]
    assert "mine: taken as given, on the same images by the same protocol." in table.reasons


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("benchmark,psnr\nrain100l,30", "mine.csv: has no column method (columns: benchmark, psnr)"),
        ("method,benchmark,psrn\nA,rain100l,30", "mine.csv: unknown column psrn; did you mean psnr?"),
        ("method,benchmark,psnr\nA,rain100l,high", "mine.csv: psnr of A on rain100l is no number: high"),
        ("", "mine.csv: has no column method (columns: none)"),
    ],
)
def test_files_that_are_no_tables(study: Collated, tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(UserError) as caught:
        Table(study, {}, [own_csv(tmp_path, text)])
    assert error in str(caught.value)
    with pytest.raises(UserError, match=r"nowhere\.csv: cannot be read \(No such file"):
        Table(study, {}, ["nowhere.csv"])


def test_published_values_on_more_images(study: Collated, tmp_path: Path) -> None:
    for name, count in (("rain100l", 50), ("sots_outdoor", 500)):
        make_run(tmp_path, f"{name}-00000001", 0, rows([30.0] * count, name), study=name)
    runs = frame(tmp_path, "rain100l")
    plain, shown = (Table(runs, {**PLAIN, "subsets": s}, ["aio3/PromptIR"], rows=("label",)) for s in (False, True))
    assert plain.first == ["Rain100L"] and shown.texts[-1] == ["PromptIR", "36.37§"]
    assert shown.reasons == ["§ on all images of rain100l (50 here); such values are not ranked."]
    assert r"36.37$^\S$" in shown.tex
    assert not any(cell.bold for cells in shown.blocks[0].rows for cell in cells), "nothing to be better than"


def test_an_average_of_values_on_more_images_has_their_mark(study: Collated, tmp_path: Path) -> None:
    benchmarks = {"rain100l": 50, "sots_outdoor": 500}
    table = [row for name, count in benchmarks.items() for row in rows([30.0] * count, name)]
    make_run(tmp_path, "a-00000001", 0, table, study="two")
    shown = Table(frame(tmp_path, "two"), {**PLAIN, "subsets": True, "hide": []}, ["aio3/PromptIR"], rows=("label",))
    mean = (36.37 + 30.58) / 2
    assert shown.texts[-1][:4] == ["PromptIR", "36.37§", "30.58", f"{mean:.2f}§"]


WRONG = {  # the look, the contents, and a part of the message
    "decimals of": ({"decimals": {"psrn": 1}}, {}, "psrn"),
    "unknown": ({"captoin": "x"}, {}, "collate.table.captoin: unknown; did you mean caption?"),
    "hide": ({"hide": ["image_per_second"]}, {}, "did you mean images_per_second?"),
    "order key": ({"order": {"benchmrk": ["x"]}}, {}, "benchmrk names neither rows, columns nor groups; did you m"),
    "order value": ({"order": {"benchmark": ["rain100"]}}, {}, "benchmark is never rain100; did you mean rain100l?"),
    "only key": ({"only": {"experts.rnk": [1]}}, {}, "no run has experts.rnk; did you mean experts.rank?"),
    "only value": ({"only": {"experts.rank": [3]}}, {}, "collate.table.only: experts.rank is never 3; it is 1, 2, 4"),
    "groups key": ({"groups": "mixx"}, {}, "collate.table.groups: no run has mixx; did you mean mix?"),
    "groups row": ({"groups": {"A": ["plan"]}}, {}, "groups: A: no row is named plan; did you mean plain?"),
    "group split": ({"groups": "variant"}, {"rows": ("mix",), "columns": ("experts.rank",)}, "variant differs"),
    "averages": ({"averages": {"a": ["rain"]}}, {}, "averages: a: benchmark is never rain; did you mean rain1"),
    "rows": ({}, {"rows": ("labl",)}, "no run has labl; did you mean label?"),
    "both": ({}, {"rows": ("benchmark", "label")}, "collate.rows: benchmark and label cannot name rows together"),
    "columns": ({}, {"rows": ("benchmark",), "columns": ("protocol",)}, "they must name runs, not protocol"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_there_is_refused_in_one_line(study: Collated, what: str) -> None:
    look, spec, text = WRONG[what]
    with pytest.raises(UserError) as caught:
        Table(study, look, **spec)
    assert text in str(caught.value) and "\n" not in str(caught.value)


KEYS = (
    "benchmark",
    "protocol",
    "degradation",
    "label",
    "experts.rank",
    "mix",
    "seed",
    "state",
    "image",
    "psnr",
    "nothing",
)


@settings(max_examples=20)
@given(
    st.lists(st.sampled_from(KEYS), max_size=2, unique=True),
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=2, unique=True),
    st.sampled_from(["blocks", "cells", "columns"]),
    st.sampled_from([None, *KEYS]),
)
def test_whatever_is_asked_for_there_is_a_table_or_one_line(study, rows, columns, metrics_in, groups) -> None:
    look = {"metrics_in": metrics_in, "groups": groups}
    try:
        table = Table(
            study, look, ["aio3/PromptIR"], rows=tuple(rows), columns=tuple(columns), metrics=("psnr", "ssim")
        )
    except UserError as error:
        assert "\n" not in str(error)
    else:
        widths = {
            len(block.header): {len(cells) for part in block.sections for cells in part.rows} for block in table.blocks
        }
        assert all(found == {width} for width, found in widths.items())
        assert table.tex and writers.to_markdown(table.blocks) and writers.to_html(table.blocks)


def test_files_of_tables(tmp_path: Path) -> None:
    file = tmp_path / "rank.tables.yaml"
    file.write_text("main: {decimals: 1, rows: [label]}\nslide:\n")
    found = read_tables(file)
    assert list(found) == ["main", "slide"] and found["main"].decimals == 1 and found["main"].rows == ("label",)
    for text, error in (
        ("main: {row: [label]}", "rank.tables.yaml: main.row: unknown; did you mean rows?"),
        ("main: {decimals: many}", "rank.tables.yaml: main.decimals: must be "),
        ("[main]", "must name tables"),
        ("a/b: {}", "a/b names files"),
        ("main: {", "is not YAML"),
    ):
        file.write_text(text)
        with pytest.raises(UserError) as caught:
            read_tables(file)
        assert error in str(caught.value) and "\n" not in str(caught.value)


@cache
def engine() -> str | None:
    return next(filter(None, map(shutil.which, ENGINES)), None)


NO_ENGINE = "no LaTeX engine; Debian: apt install texlive-latex-recommended texlive-science"


def compiled(text: str, folder: Path) -> None:
    """Compile tables in a document of two columns."""
    packages = r"\usepackage{booktabs,graphicx,siunitx}\sisetup{separate-uncertainty,detect-weight,mode=math}"
    (folder / "x.tex").write_text(
        rf"\documentclass[twocolumn]{{article}}{packages}\begin{{document}}{text}\end{{document}}", encoding="utf-8"
    )
    options = [] if "tectonic" in engine() else ["-interaction=nonstopmode", "-halt-on-error"]
    done = subprocess.run([engine(), *options, "x.tex"], cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.mark.skipif(engine() is None, reason=NO_ENGINE)
def test_latex_compiles(study: Collated, tmp_path: Path) -> None:
    """Odd signs, long names, groups, missing cells, published rows, every environment and every way of metrics."""
    signs = "".join(map(chr, [*range(32, 127), *range(161, 384), *range(0x391, 0x3CA), 0x1F600]))
    lines = [[Cell("[x]"), Cell(signs, bold=True)], [Cell("*"), Cell("long " * 99, underlined=True)]]
    odd = Block("", ["a", "b"], lines)
    reference = {"reference": {"optimizer.note": "plain"}, "metrics": ("psnr", "ssim")}
    groups = {"Single task": ["BRDNet"], "All in one": ["PromptIR", "plain"]}
    tables = [
        Table(study, {}, ["aio3"], **reference),
        Table(study, {"metrics_in": "cells", "groups": groups, "environment": "table"}, ["aio3"], **reference),
        Table(study, {"metrics_in": "columns", "siunitx": True, "groups": "mix"}, ["aio3"], **reference),
        Table(study, {"environment": "tabular"}, columns=("degradation", "benchmark")),
        Table(study, {"siunitx": True}, rows=("benchmark",), columns=("label", "experts.rank"), metrics=("gain",)),
    ]
    compiled("\n".join([latex.to_latex([odd], ["%", signs]), *(table.tex for table in tables)]), tmp_path)
