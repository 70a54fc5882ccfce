"""README.md, docs/ and the studies' pages: commands compose, tables are those of result files, links lead somewhere."""

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from helpers import ROOT, make_photographs

from daair.config import typed
from daair.config.compose import Composer
from daair.config.jobs import Command
from daair.config.validate import validate
from daair.metrics import METRICS
from daair.report import writers
from daair.report.names import read_names
from daair.report.writers import Block, Cell
from daair.runs import scores

README = (ROOT / "README.md").read_text()
GUIDE = ROOT / "docs" / "extend.md"  # its commands need the plugin: tests/test_plugin.py
GUIDES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
STUDIES_PAGES = sorted(page for page in ROOT.glob("experiments/*/*.md") if page.name != "table.md")
PAGES = [*GUIDES, ROOT / "CONTRIBUTING.md", *STUDIES_PAGES]
COMMANDS = [
    re.sub(r"\s*\\\n\s*", " ", line).strip()
    for page in PAGES
    if page != GUIDE
    for line in re.findall(r"^ {4}(python run\.py\b(?:.*\\\n)*.*)$", page.read_text(), re.MULTILINE)
]
ANSWERED = re.compile("--(help|cfg|info)")  # Hydra answers these; they make no jobs
MEASURED = sorted(file.parent.name for file in (ROOT / "experiments").glob("*/results.csv"))
NAMES = read_names(ROOT / "conf" / "reference" / "names.yaml")
STUDIES = sorted(file.parent.name for file in (ROOT / "experiments").glob("*/table.csv"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_photographs(tmp_path_factory.mktemp("photographs"), count=2, size=128)
    for name in ("rainy", "clean"):
        (root / name).symlink_to(root / "train" / "clean")
    return root


def test_there_are_commands_and_tables() -> None:
    assert len(COMMANDS) > 10 and len(MEASURED) >= 2 and "demo" in STUDIES


@pytest.fixture(scope="module")
def composer() -> Composer:
    return Composer(str(ROOT / "conf"))


@pytest.mark.parametrize("command", [one for one in dict.fromkeys(COMMANDS) if not ANSWERED.search(one)])
def test_commands_compose(
    command: str, composer: Composer, photographs: Path, monkeypatch: pytest.MonkeyPatch, own_network: None
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if "hydra/sweeper=optuna" in command:
        pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    words = shlex.split(re.sub(r"\[(restore\.tile=512)\]", r"\1", command), comments=True)[2:]
    words = typed.read([re.sub(r"\bDIR\b", str(photographs), word) for word in words])
    overrides = [word for word in words if word != "-m"]
    points = Command(composer, overrides, multirun="-m" in words).points
    assert points
    for point in points[:: max(1, len(points) // 2)]:
        validate(composer.compose_job(point.overrides))


@pytest.fixture
def own_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The network that README.md shows, as a file in the current directory; it is forgotten afterwards."""
    (snippet,) = [text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "class Net" in text]
    (tmp_path / "mynet.py").write_text(snippet)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("mynet", None)


def test_the_study_of_the_first_ablation_composes(tmp_path: Path) -> None:
    (first,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "first-ablation.md").read_text(), re.DOTALL)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "first.yaml").write_text(first)
    composer = Composer(str(ROOT / "conf"), "config", str(tmp_path))
    points = Command(composer, ["experiment=first"]).points
    assert len(points) == 8
    assert validate(composer.compose_job(points[-1].overrides)).collate.rows == ("experts.rank", "router")


@pytest.mark.parametrize("name", MEASURED)
def test_tables_of_runs_are_those_of_their_rows(name: str) -> None:
    folder = ROOT / "experiments" / name
    header, rows = scores.texts(scores.per_benchmark(pd.read_csv(folder / "results.csv")))
    block = Block("", header, [list(map(Cell, row)) for row in rows], names=len(scores.KEYS))
    table = writers.to_markdown([block]).strip()
    assert table in (folder / "README.md").read_text(), f"experiments/{name}/README.md should have\n{table}"
    for page in GUIDES:
        text = page.read_text()
        if f"experiments/{name}/README.md" in text and f"\n| {rows[0][0]} |" in text and table.splitlines()[0] in text:
            assert table in text, f"{page.relative_to(ROOT)} should have\n{table}"


@pytest.mark.parametrize("name", STUDIES)
def test_tables_of_studies_are_those_of_their_numbers(name: str) -> None:
    folder = ROOT / "experiments" / name
    numbers = pd.read_csv(folder / "table.csv")
    keys = list(numbers.columns[: numbers.columns.get_loc("column")])
    methods = {tuple(map(str, row)) for row in numbers[keys].to_numpy()}
    averages = {"average", *numbers["column"][numbers["images"].isna()]}
    shown = list(_tables((folder / "README.md").read_text(), keys, averages))[:1]
    assert shown, f"no table with {', '.join(keys)} and an average"
    shown += [table for page in GUIDES for table in _tables(page.read_text(), keys, averages) if set(table) == methods]
    assert len(shown) > 1 or name not in ("demo", "longer"), "README.md has its table"
    psnr = numbers[(numbers["metric"] == "psnr") & numbers["mean"].notna()]
    digits = METRICS["psnr"].digits
    for table in shown:
        assert set(table) == methods
        for row in psnr.to_dict("records"):
            spread = f" ± {row['sd']:.{digits}f}" if row["seeds"] > 1 else ""
            line, columns = table[tuple(str(row[key]) for key in keys)], {NAMES.of(row["column"]), row["column"]}
            texts = [line[column] for column in columns if column in line]
            assert texts or table is not shown[0], "only the study's own page has all columns"
            assert texts in ([], [f"{row['mean']:.{digits}f}{spread}"])


def test_times_of_the_networks_are_those_of_their_file() -> None:
    rows = pd.read_csv(ROOT / "experiments" / "speed" / "peers.csv").set_index("model")
    text, slow = (ROOT / "docs" / "networks.md").read_text(), rows.loc["promptir"]
    for name, row in rows.iterrows():
        cells = [f"{row[key] / 1000:.2f} | {row[key] / slow[key]:.2f}" for key in ("latency_ms", "step_ms")]
        assert f"| `{name}` | {row['parameters_m']:.2f} | {row['gmacs']:.1f} | {cells[0]} | {cells[1]} |" in text, name


def test_links_lead_somewhere() -> None:
    wrong = []
    for page in PAGES:
        for target, section in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
            file = page.parent / target if target else page
            if re.match(r"[a-z]+:", target):
                continue
            if not file.exists() or section and section not in _sections(file):
                wrong.append(f"{page.relative_to(ROOT)}: {target}#{section}")
    assert not wrong, "\n".join(wrong)


def test_every_page_is_in_the_readme() -> None:
    assert {page.name for page in GUIDES[1:]} == set(re.findall(r"\]\(docs/(\w[\w-]*\.md)\)", README))


def _sections(page: Path) -> set[str]:
    """The names by which links reach the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def _tables(text: str, keys: list[str], averages: set[str]) -> Iterator[dict[tuple[str, ...], dict[str, str]]]:
    """Yield each Markdown table that has these keys and one of the averages: its rows by their keys, without marks."""
    for block in re.findall(r"(?:^\|.*\n)+", text + "\n", re.MULTILINE):
        rows = [line.strip("| ").split("|") for line in block.splitlines()]
        lines = [[re.sub(r"</?u>|[\\*†]| \(\d+/\d+\)", "", cell.strip()) for cell in row] for row in rows]
        if lines[0][: len(keys)] in (keys, list(map(NAMES.of, keys))) and averages & set(lines[0]):
            yield {tuple(line[: len(keys)]): dict(zip(lines[0], line, strict=True)) for line in lines[2:]}
