"""The tables in experiments/tables are those of the committed numbers; their pictures are looked at by people."""

import importlib.util
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


def test_the_three_tables_of_one_study_have_its_numbers_and_a_picture() -> None:
    tables = {file.stem: file.read_text(encoding="utf-8") for file in (RANK / "tables").glob("*.tex")}
    assert set(tables) == {"main", "appendix", "slide"}
    assert {f"rank-{name}.png" for name in tables} <= {file.name for file in HERE.iterdir()}
    lines = pd.read_csv(RANK / "table.csv", dtype={"experts.rank": str}).query("metric == 'psnr' and column == column")
    for _, line in lines.iterrows():
        assert f"{line['mean']:.2f}" in tables["main"] and f"{line['mean']:.1f}" in tables["slide"]
        assert f"{line['mean']:.2f}" in tables["appendix"]
