"""Rows of networks that were only evaluated, beside trained and printed ones."""

from pathlib import Path

from helpers import ROOT
from synthetic import make_run, rows

from daair.config.table_look import TableLook
from daair.report import layout, published
from daair.report.frame import frame
from daair.report.names import Names, read_names
from daair.report.table import TableSpec, study_table

COUNTS = {"cbsd68_sigma15": 68, "cbsd68_sigma25": 68, "cbsd68_sigma50": 68, "rain100l": 100, "sots_outdoor": 500}


def study(runs: Path) -> Path:
    """Write a study of one trained variant with two seeds, and of PromptIR's weights with the very same config."""
    for seed, psnr in ((0, 30.0), (1, 31.0)):
        table = [row for name, count in COUNTS.items() for row in rows([psnr] * count, name)]
        make_run(runs, "PromptIR-00000001", seed, table, label="PromptIR")
    weights = {
        "origin": "published weights",
        "label": "PromptIR",
        "weights_file": "model.ckpt",
        "weights_digest": "ab" * 32,
        "weights_notes": [],
        "measured": {},
    }
    table = [row for name, count in COUNTS.items() for row in rows([33.0] * count, name)]
    folder = make_run(runs, "PromptIR-00000002", 2, table, label="PromptIR", summary=weights)
    folder.rename(folder.with_name("weights"))
    return runs


def test_trained_evaluated_and_printed_rows_of_one_network_cannot_be_mistaken(tmp_path: Path) -> None:
    table = study_table(frame(study(tmp_path)), TableSpec(rows=("label",)))
    beside, left_out = published.published_rows(table, published.load(["aio3/PromptIR"], ROOT / "conf" / "reference"))
    assert left_out == []
    psnr = layout.blocks(table, beside)[0]
    own = {line[0].text: line[1] for part in psnr.sections if not part.published for line in part.rows}
    (printed,) = [part for part in psnr.sections if part.published]
    assert set(own) == {"PromptIR", "PromptIR (published weights)"}
    assert own["PromptIR"].text.startswith("30.50") and "±" in own["PromptIR"].text  # of the trained seeds
    assert own["PromptIR (published weights)"].text == "33.00" and not own["PromptIR (published weights)"].bold
    assert [line[0].text for line in printed.rows] == ["PromptIR"] and printed.rows[0][1].text == "33.98"
    markdown = "\n".join(str(line) for line in table.notes)
    assert "PromptIR (published weights): model.ckpt, SHA-256 abababab" in markdown


def test_such_a_row_goes_by_its_label_in_groups_and_headings(tmp_path: Path) -> None:
    table = study_table(frame(study(tmp_path)), TableSpec(rows=("label",)))
    look = TableLook(groups={"Theirs": ("PromptIR (published weights)",), "Ours": ("PromptIR",)})
    psnr = layout.blocks(table, [], look, Names({"PromptIR": "Prompt"}))[0]
    assert [(part.title, [line[0].text for line in part.rows]) for part in psnr.sections] == [
        ("Theirs", ["Prompt (published weights)"]), ("Ours", ["Prompt"]),
    ]  # fmt: skip
    one = study_table(frame(study(tmp_path / "x")), TableSpec(rows=("label",), only={"label": ["PromptIR"]}))
    both = TableLook(groups={"All": ("PromptIR",)})
    assert len(layout.blocks(one, [], both)[0].sections[0].rows) == 2


def test_a_misspelled_benchmark_of_ones_own_file_is_told(tmp_path: Path) -> None:
    table = study_table(frame(study(tmp_path)), TableSpec(rows=("label",)))
    file = tmp_path / "mine.csv"
    file.write_text("method,benchmark,psnr\nTheirs,cbsd68_sigma51,30\nTheirs,rain100l,31\n")
    names = read_names(ROOT / "conf" / "reference" / "names.yaml")
    _, notes = published.published_rows(table, published.load([str(file)], ROOT), False, names)
    assert "no benchmark is called cbsd68_sigma51; did you mean cbsd68_sigma" in notes[0] and "(Theirs)" in notes[0]
