"""`task=verify mix.root=DIR`: check that the data sets are the ones that the papers used under these names.

The task prints a line for each data set and for each finding, writes a JSON file, and returns 1 if there are errors.
The results for each file are cached, so that checking a large folder again takes seconds.
"""

import json
import os
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table

from daair.data.audit import leaks
from daair.data.audit.findings import LEVELS, AuditReport
from daair.data.audit.root import audit_root
from daair.engine.progress import Reporter
from daair.errors import UserError, naming_full_keys
from daair.files import write_text

if TYPE_CHECKING:
    from daair.config.jobs import Job

FOLDERS = 8
"""Most folders with other images that are printed; the JSON file lists all."""


def verify(job: "Job") -> int:
    """Check every data set under `mix.root`.

    Returns:
        Exit status: 1 if there are errors, else 0.

    Raises:
        UserError: `mix.root` is missing, no folder, or has no known data set; or the JSON file cannot be written.
    """
    cfg = job.config
    root = cfg.mix.get("root")
    if root is None:
        raise UserError("mix.root: missing; task=verify needs mix.root=DIR, the folder with the data sets")
    reporter = Reporter()
    with naming_full_keys("mix", ("root",)):
        report = audit_root(root, reporter.progress, Path(cfg.paths.runs) / leaks.CACHE)
    path = Path(cfg.output or Path(cfg.paths.runs) / "verify" / f"{Path(root).resolve().name or 'root'}.json")
    try:
        write_text(path, json.dumps(as_json(report), indent=1) + "\n")
    except OSError as error:
        raise UserError(f"output: cannot write {path}: {error.strerror}") from None
    reporter.console.print(table(report, reporter.console.width))
    for level in reversed(LEVELS):
        for finding in report.findings:
            if finding.level == level:
                reporter.say(str(finding))
    for line in more_lines(report):
        reporter.say(line)
    errors, warnings = report.count("error"), report.count("warning")
    reporter.say(f"{len(report.sets)} data sets, {errors} errors, {warnings} warnings; all files concerned: {path}")
    return 1 if errors else 0


def as_json(report: AuditReport) -> dict[str, Any]:
    """Return a report as plain lists and dictionaries."""
    return {
        "root": str(report.root),
        "errors": report.count("error"),
        "warnings": report.count("warning"),
        "sets": [{**asdict(one), "status": one.status} for one in report.sets],
        "findings": [asdict(finding) for finding in report.findings],
        "absent": report.absent,
        "without_pairs": report.without_pairs,
        "others": report.others,
    }


def more_lines(report: AuditReport) -> list[str]:
    """Return lines on missing data sets and pairs, and on images that were not checked."""
    lines = []
    if absent := dict.fromkeys(re.sub(r"^cdd11_\w+", "cdd11", name) for name in report.absent):
        lines.append(f"not there: {', '.join(absent)}")
    if report.without_pairs:
        labels = ", ".join(report.without_pairs)
        lines.append(f"no pairs to train on: {labels}; these have to be synthesised from clean photographs")
    if report.others:
        folders = [f"{folder} ({count})" for folder, count in report.others.items()]
        more = f" and {len(folders) - FOLDERS} more folders" if len(folders) > FOLDERS else ""
        lines.append(f"pictures in no data set known by name, not looked at: {', '.join(folders[:FOLDERS])}{more}")
    return lines


def table(report: AuditReport, width: int) -> Table:
    """Return a table with a line for each data set; only the column of folders is shortened to fit `width`."""
    names = ("data set", "layout", "folder", "images", "pairs", "input dB", "on Y", "published", "status")
    rows = []
    for one in report.sets:
        published = " ".join(f"{dB:.2f}{' Y' if key.endswith('_y') else ''}" for key, dB in one.published.items())
        rows.append(
            [
                one.name,
                one.layout,
                os.path.commonpath(one.folders),
                str(one.images),
                "" if one.pairs is None else str(one.pairs),
                *(f"{one.input_psnr[key]:.2f}" if key in one.input_psnr else "" for key in ("rgb", "y")),
                published,
                one.status,
            ]
        )
    shown = Table(box=box.SIMPLE, title=f"data sets under {report.root}", title_justify="left", padding=(0, 1, 0, 0))
    widths = {name: max(map(len, (name, *cells))) for name, *cells in zip(names, *rows, strict=True)}
    others = sum(widths.values()) - widths["folder"] + 2 * len(names) + 2  # including gaps and edges of the box
    widths["folder"] = max(8, min(widths["folder"], width - others))
    for name in names:
        right = name in ("images", "pairs", "input dB", "on Y", "published")
        shown.add_column(name, justify="right" if right else "left", no_wrap=True, width=widths[name])
    for one, row in zip(report.sets, rows, strict=True):
        shown.add_row(*row, style={"error": "red", "warning": "yellow"}.get(one.level, ""))
    return shown
