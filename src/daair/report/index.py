"""Write `index.html` in the folder of all runs: each study with its state and the headline of its table."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

from daair.errors import UserError
from daair.metrics import METRICS
from daair.report.aggregate import AVERAGE
from daair.report.page import INDEX, REPORT, render
from daair.runs.record import STATES, Record
from daair.runs.store import Run, read, run_folders, studies

TABLE = "table.csv"


def write(runs: str | Path, every: float | None = None) -> tuple[Path, int]:
    """Write `<runs>/index.html` atomically.

    Args:
        runs: The folder of all runs.
        every: Seconds after which a browser loads the page again while runs are queued or running; None = never.

    Returns:
        The page, and how many runs are queued or running.
    """
    runs = Path(runs)
    found = [_study(runs, name) for name in studies(runs)]
    unfinished = sum(study["states"].get(state, 0) for study in found for state in ("queued", "running"))
    page = {"studies": found, "folder": runs.resolve().name, "every": every if unfinished else None}
    return render(INDEX, page, runs), unfinished


def _study(folder: Path, name: str) -> dict[str, Any]:
    """Return what the page says of a study."""
    runs = [read(path) for path in run_folders(folder, name)]
    counts = Counter(run.shown_state for run in runs)
    return {
        "name": name,
        "report": f"{name}/{REPORT}" if (folder / name / REPORT).is_file() else "",
        "question": _question(runs),
        "runs": len(runs),
        "states": {state: counts[state] for state in (*STATES, "unreadable") if counts[state]},
        "changed": max((run.status.updated for run in runs), default="")[:16].replace("T", " "),
        "headline": headline(folder / name / TABLE),
    }


def _question(runs: list[Run]) -> str:
    """Return the question that the study's newest run was started with; empty if it had none."""
    newest = max(runs, key=lambda run: run.status.started)
    try:
        return str(Record(newest.folder).config().get("question") or "")
    except (UserError, OSError):
        return ""


def headline(table: Path) -> str:
    """Return the best row of a study's table.csv by its first metric; empty if there is none.

    The best row has rank 1 in the average, or in the first column of a table without one:
    `rank 8: PSNR 27.53 dB on average, +0.21 against the reference`.
    """
    try:
        with open(table, encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        metric = METRICS[lines[0]["metric"]]
        own = [line for line in lines if line["metric"] == metric.name]
        column = AVERAGE if any(line["column"] == AVERAGE for line in own) else own[0]["column"]
        best = next(line for line in own if line["column"] == column and line["rank"] and float(line["rank"]) == 1)
        names = [f"{key.rpartition('.')[2]} {best[key]}" for key in list(best)[: list(best).index("column")]]
        value = f"{metric.header} {float(best['mean']):.{metric.digits}f} {metric.unit}".strip()
        where = "on average" if column == AVERAGE else f"on {column}"
        delta = f", {float(best['delta']):+.{metric.digits}f} against the reference" if best.get("delta") else ""
    except (OSError, LookupError, ValueError, StopIteration):
        return ""
    return f"{', '.join(names)}: {value} {where}{delta}"
