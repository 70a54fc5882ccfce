"""The tables in experiments/tables are those of the committed numbers; their pictures are looked at by people."""

import importlib.util
from pathlib import Path

HERE = Path(__file__).parents[2] / "experiments" / "tables"


def test_the_tables_are_those_of_the_numbers() -> None:
    spec = importlib.util.spec_from_file_location("make_tables", HERE / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    made = dict(make.texts())
    assert (
        sorted(made) == sorted(file.stem for file in HERE.glob("*.tex")) == sorted(f.stem for f in HERE.glob("*.png"))
    )
    for name, text in made.items():
        assert text == (HERE / f"{name}.tex").read_text(encoding="utf-8"), f"{name}: python experiments/tables/make.py"
    assert r"30.58$^\S$/0.974$^\S$" in made["paper"], "as the paper prints it"
    assert "28.16/0.763" in made["rank-main"] and "$*$" not in made["rank-appendix"]
