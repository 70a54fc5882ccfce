"""The tables in experiments/tables are those of the committed numbers; their pictures are looked at by people."""

import importlib.util
import re
from pathlib import Path

import pandas as pd

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
HERE, RANK = EXPERIMENTS / "tables", EXPERIMENTS / "rank"


def test_the_tables_are_those_of_the_numbers() -> None:
    spec = importlib.util.spec_from_file_location("make_tables", HERE / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    made = dict(make.texts())
    assert sorted(made) == sorted(file.stem for file in HERE.glob("*.tex"))
    for name, text in made.items():
        assert text == (HERE / f"{name}.tex").read_text(encoding="utf-8"), f"{name}: python experiments/tables/make.py"
    assert r"30.58$^\S$/0.974$^\S$" in made["paper"], "as the paper prints it"


COLUMNS = {
    r"CBSD68 $\sigma{=}25$": "cbsd68_sigma25",
    "Rain100L": "rain100l",
    "CBSD68 haze": "cbsd68_haze",
    "average": "average",
}
COSTS = {"params, M": ("parameters", 1e6), "MACs, G": ("macs", 1e9)}


def tabulars(text: str) -> list[dict[str, dict[str, str]]]:
    """Return the cells of each `tabular` by the name of the row and the heading, without bold and underlined print."""
    found = []
    for part in text.split(r"\begin{tabular}")[1:]:
        body = part.partition(r"\end{tabular}")[0]
        lines = [line.removesuffix(r" \\").split(" & ") for line in body.splitlines() if line.endswith(r" \\")]
        names = next(line for line in lines if line[0] == "rank")
        rows = [
            [re.sub(r"\\(?:textbf|underline)\{([^}]*)\}", r"\1", cell) for cell in line]
            for line in lines[lines.index(names) + 1 :]
        ]
        found.append({row[0]: dict(zip(names[1:], row[1:], strict=True)) for row in rows})
    return found


def expected(numbers: pd.DataFrame, digits: dict[str, int], spread: bool = False) -> dict[str, dict[str, str]]:
    """Return the cells of a table, by the name of the row and the heading, with `/` between metrics.

    Args:
        numbers: The lines of table.csv, by rank, metric and column.
        digits: Digits after the point, by metric.
        spread: Whether cells have the deviation.
    """
    cells: dict[str, dict[str, str]] = {}
    for rank in dict.fromkeys(numbers.index.get_level_values(0)):
        cells[rank] = {}
        for heading, column in COLUMNS.items():
            lines = [(numbers.loc[(rank, metric, column)], places) for metric, places in digits.items()]
            texts = [f"{line['mean']:.{n}f}" + spread * rf"\,$\pm$\,{line['sd']:.{n}f}" for line, n in lines]
            cells[rank][heading] = "/".join(texts)
        deltas = [f"{line['delta']:+.{n}f}".replace("-", "$-$") for line, n in lines]  # of the average, the last column
        cells[rank][r"$\Delta$ average"] = "ref." if lines[0][0]["reference"] else "/".join(deltas)
        for heading, (metric, unit) in COSTS.items():
            cells[rank][heading] = f"{numbers.loc[(rank, metric, '')]['mean'] / unit:.2f}"
    return cells


def test_the_three_tables_of_one_study_have_its_numbers_and_a_picture() -> None:
    tables = {file.stem: file.read_text(encoding="utf-8") for file in (RANK / "tables").glob("*.tex")}
    assert set(tables) == {"main", "appendix", "slide"}
    assert {f"rank-{name}.png" for name in tables} <= {file.name for file in HERE.iterdir()}
    lines = pd.read_csv(RANK / "table.csv", dtype={"experts.rank": str}).fillna({"column": ""})
    numbers = lines.set_index(["experts.rank", "metric", "column"]).sort_index()
    whole = {
        "main": [expected(numbers, {"psnr": 2, "ssim": 3})],
        "slide": [expected(numbers, {"psnr": 1})],
        "appendix": [expected(numbers, {"psnr": 2}, spread=True), expected(numbers, {"ssim": 4}, spread=True)],
    }
    for name, text in tables.items():
        for block, cells in zip(tabulars(text), whole[name], strict=True):
            assert list(block) == ["1", "2", "4", "8"] and all(COLUMNS.keys() <= row.keys() for row in block.values())
            assert block == {rank: {heading: cells[rank][heading] for heading in row} for rank, row in block.items()}
