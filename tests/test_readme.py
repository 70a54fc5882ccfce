"""README.md and those of the studies: commands compose, tables are those of result files, links lead somewhere."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
from helpers import ROOT, make_photographs

from daair.config.compose import Composer
from daair.config.jobs import Command
from daair.config.validate import validate
from daair.metrics import METRICS
from daair.report import writers
from daair.report.writers import Block, Cell
from daair.runs import scores

README = (ROOT / "README.md").read_text()
COMMANDS = [
    re.split("  +", re.sub(r"\s*\\\n\s*", " ", line))[0].strip()
    for page in (ROOT / "README.md", *sorted(ROOT.glob("experiments/*/README.md")))
    for line in re.findall(r"^ {4}(python run\.py\b(?:.*\\\n)*.*)$", page.read_text(), re.MULTILINE)
]
MEASURED = sorted(file.parent.name for file in (ROOT / "experiments").glob("*/results.csv"))
STUDIES = sorted(file.parent.name for file in (ROOT / "experiments").glob("*/table.csv"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photographs(tmp_path_factory.mktemp("photographs"), count=1, size=128)


def test_there_are_commands_and_tables() -> None:
    assert len(COMMANDS) > 10 and len(MEASURED) >= 2 and "demo" in STUDIES


@pytest.mark.parametrize("command", [command for command in dict.fromkeys(COMMANDS) if "--help" not in command])
def test_commands_compose(command: str, photographs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    words = shlex.split(re.sub(r"\[(restore\.tile=512)\]", r"\1", command))[2:]
    overrides = [re.sub(r"\bDIR\b", str(photographs), word) for word in words if word != "-m"]
    composer = Composer(str(ROOT / "conf"))
    points = Command(composer, overrides, multirun="-m" in words).points
    assert points
    for point in points[:: max(1, len(points) // 2)]:
        validate(composer.compose_job(point.overrides))


@pytest.mark.parametrize("name", MEASURED)
def test_tables_of_runs_are_those_of_their_rows(name: str) -> None:
    folder = ROOT / "experiments" / name
    header, rows = scores.texts(scores.per_benchmark(pd.read_csv(folder / "results.csv")))
    block = Block("", header, [list(map(Cell, row)) for row in rows], names=len(scores.KEYS))
    table = writers.to_markdown([block]).strip()
    assert table in (folder / "README.md").read_text(), f"experiments/{name}/README.md should have\n{table}"
    if f"experiments/{name}/README.md" in README:
        assert table in README, f"README.md should have\n{table}"


@pytest.mark.parametrize("name", STUDIES)
def test_tables_of_studies_are_those_of_their_numbers(name: str) -> None:
    folder = ROOT / "experiments" / name
    numbers = pd.read_csv(folder / "table.csv")
    keys = list(numbers.columns[: numbers.columns.get_loc("column")])
    shown = [_table((folder / "README.md").read_text(), keys)]
    assert shown[0], f"no table with {', '.join(keys)} and an average"
    if name in ("demo", "rank"):
        shown.append(_table(README, keys))
    psnr = numbers[(numbers["metric"] == "psnr") & numbers["mean"].notna()]
    digits = METRICS["psnr"].digits
    for table in shown:
        assert len(table) == numbers.drop_duplicates(keys).shape[0]
        for row in psnr.to_dict("records"):
            spread = f" ± {row['sd']:.{digits}f}" if row["seeds"] > 1 else ""
            assert table[tuple(str(row[key]) for key in keys)][row["column"]] == f"{row['mean']:.{digits}f}{spread}"


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("experiments/*/README.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def _table(text: str, keys: list[str]) -> dict[tuple[str, ...], dict[str, str]]:
    """The first Markdown table that has these keys and an average: its rows by their keys, without marks."""
    for block in re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE):
        rows = [line.strip("| ").split("|") for line in block.splitlines()]
        lines = [[re.sub(r"</?u>|[\\*]", "", cell.strip()) for cell in row] for row in rows]
        if lines[0][: len(keys)] == keys and "average" in lines[0]:
            return {tuple(line[: len(keys)]): dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
    return {}
