"""The table of metrics: one entry is all that a metric needs, from rows to figures."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from accelerate import Accelerator
from helpers import ROOT
from synthetic import make_run, rows

from daair.config.schema import Evaluate
from daair.data.benchmarks import Item
from daair.engine.measure import measure
from daair.engine.progress import Reporter
from daair.metrics import METRICS, PROTOCOLS, Metric
from daair.models.identity import Identity
from daair.report import figures, layout
from daair.report.frame import frame
from daair.report.table import TableSpec, study_table
from daair.runs import scores


def test_an_entry_is_computed_in_exactly_one_way_and_names_are_columns() -> None:
    for name, metric in METRICS.items():
        assert name == metric.name and name.isidentifier()
        assert sum(way is not None for way in (metric.compute, metric.network, metric.derive)) == 1
        assert not (metric.always and metric.network), "what is always measured needs no weights"


def test_the_mean_absolute_error_is_of_images_in_zero_to_one() -> None:
    clean = np.zeros((16, 16, 3), np.uint8)
    mae = METRICS["mae"].score()
    assert mae(PROTOCOLS["promptir"], np.full_like(clean, 51), clean) == pytest.approx(0.2)
    assert mae(PROTOCOLS["basicsr_rgb"], np.full(clean.shape, 0.2001), clean) == pytest.approx(0.2), "quantised"
    luma = 0.2 * (65.481 + 128.553 + 24.966) / 255
    assert mae(PROTOCOLS["basicsr_y"], np.full_like(clean, 51), clean) == pytest.approx(luma)


def test_one_entry_is_found_in_rows_tables_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worst = Metric(
        "worst", "WORST", "levels", 1, False, lambda protocol, image, reference: 255 * np.abs(
            protocol.displayed(image) - protocol.displayed(reference)).max(),
    )  # fmt: skip
    monkeypatch.setitem(METRICS, "worst", worst)
    clean = np.full((32, 32, 3), 100, np.uint8)
    item = Item("b", "1", "promptir", read_target=lambda: clean, read_input=lambda: clean + 7)
    options = Evaluate(tile="auto", overlap=32, memory=0.5, workers=1, pictures=0)
    measured, *_ = measure(
        Identity(), [item], Accelerator(cpu=True), Reporter(active=False), options, metrics=["worst"]
    )
    assert measured["input_worst"][0] == pytest.approx(7) and measured["worst"][0] == pytest.approx(7, abs=1e-3)

    headings, (row,) = scores.texts(scores.per_benchmark(measured))
    assert headings[-2:] == ["input WORST", "WORST"] and row[-2:] == ["7.0", "7.0"]

    for rank, value in ((4, 9.0), (8, 3.0)):
        make_run(tmp_path, f"a-0000000{rank}", 0, rows([30.0], input_worst=20.0, worst=value), experts={"rank": rank})
    collated = frame(tmp_path, "rank")
    table = study_table(collated, TableSpec(metrics=("worst",), reference={"experts.rank": 4}))
    (block,) = layout.blocks(table)
    assert block.title == "WORST ↓ (levels)" and [line[1].text for line in block.rows] == ["9.0", "3.0"]
    assert [line[2].text for line in block.rows] == ["ref.", "−6.0"] and block.rows[1][1].bold, "less is better"
    assert "WORST cbsd68_sigma25 20.0 levels" in " ".join(layout.notes(table))
    assert pd.to_numeric(collated.frame["worst"]).tolist() == [9.0, 3.0]

    drawn = figures.draw(figures.figure_data(collated, tmp_path), tmp_path / "figures", ["worst"])
    (figure,) = [one for one in drawn if one.name == "worst_against_rank"]
    assert figure.files and figure.caption.startswith("WORST against rank of the experts")
    assert figures.scores.axis_label("worst") == "WORST / levels"
    assert figures.figure_data(collated, tmp_path).best("worst") == "a-00000008"


def test_an_installed_package_adds_a_metric_and_a_broken_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "from daair.metrics import Metric\n"
        "mine = Metric('mine', 'MINE', '', 3, True, compute=lambda protocol, image, reference: 1.0)\n"
    )
    info = tmp_path / "theirs-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[daair.metrics]\nmine = theirs:mine\nbad = theirs:missing\n")
    code = (
        "import sys\n"
        "from daair.metrics import METRICS; from daair.config.schema import MeasuredMetric\n"
        "assert METRICS['mine'].header == 'MINE' and 'mine' in MeasuredMetric.__args__\n"
        "assert 'torch' not in sys.modules\n"
    )
    path = os.pathsep.join([str(tmp_path), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "metric bad (theirs:missing) cannot be loaded" in done.stderr
