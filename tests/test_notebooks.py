"""The notebooks run from top to bottom on a tiny run, and stand in the repository without outputs."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from helpers import ROOT, SMALL, make_photographs, run
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.py"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that made a few updates and was evaluated."""
    folder = tmp_path_factory.mktemp("study")
    root = make_photographs(folder / "data")
    own = [f"benchmarks.mine.target={root / 'val' / 'clean'}", "benchmarks.mine.degrade=sigma25"]
    small = [override for override in SMALL if not override.startswith("benchmarks=")]
    steps = ["train.steps=4", "train.validate_every=2", "study=tiny"]
    code, output = run([*small, *own, *steps, f"mix.root={root}", f"paths.runs={folder / 'runs'}"])
    assert code == 0, output
    return next((folder / "runs" / "tiny").glob("*/seed0"))


def read(source: Path) -> nbformat.NotebookNode:
    """The notebook that is made from a script."""
    return nbformat.read(source.with_suffix(".ipynb"), as_version=4)


def test_notebooks_run_from_top_to_bottom(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAAIR_STUDY", str(trained.parents[1]))
    monkeypatch.setenv("DAAIR_RUN", str(trained))
    monkeypatch.setenv("DAAIR_SIDE", "64")
    monkeypatch.setenv("DAAIR_FIGURES", str(tmp_path / "figures"))
    monkeypatch.setenv("DAAIR_OUTPUT", str(tmp_path / "restored.png"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    # In one kernel, which imports PyTorch once; names of one notebook are gone before the next.
    all_of_them = nbformat.v4.new_notebook()
    for source in NOTEBOOKS:
        all_of_them.cells += [nbformat.v4.new_code_cell("%reset -f"), *read(source).cells]
    kernel = {"kernel_name": "python3", "resources": {"metadata": {"path": ROOT}}}
    NotebookClient(all_of_them, timeout=200, **kernel).execute()
    text = "\n".join(str(output) for cell in all_of_them.cells for output in cell.get("outputs", []))
    assert "4 rows" in text and "left out: nothing" in text and "mine" in text
    assert (tmp_path / "figures" / "curves.pdf").is_file() and "not drawn, since" in text
    assert "all to expert 5" in text and "after 4 updates, trained on: noise15" in text
    assert (tmp_path / "restored.png").is_file()


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_made_from_its_script_and_has_no_outputs(source: Path) -> None:
    made = jupytext.read(source)
    stored = read(source)
    nbformat.validate(stored)
    pairs = [[(cell.cell_type, cell.source) for cell in notebook.cells] for notebook in (made, stored)]
    assert pairs[0] == pairs[1], f"out of date: jupytext --to ipynb notebooks/{source.name}"
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in stored.cells)
