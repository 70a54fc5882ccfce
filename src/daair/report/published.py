"""Rows from papers for a study's table: only values for the same benchmark, all its images and the same protocol."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daair.errors import UserError, suggestion
from daair.metrics import METRICS
from daair.report.aggregate import AVERAGE, AVERAGE_COLUMN
from daair.report.table import StudyTable


@dataclass(frozen=True)
class Method:
    """A published method.

    Attributes:
        source: Name of the file, e.g. `aio3`.
        name: The name as printed.
        parameters: Parameters in millions, as printed; may be empty.
        lines: The method's lines of the file, by benchmark, including `average`.
    """

    source: str
    name: str
    parameters: str
    lines: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class PublishedRow:
    """The values of a method that can stand in a study's table.

    Attributes:
        method: The method.
        figures: Texts by metric and position of the column.
    """

    method: Method
    figures: Mapping[tuple[str, int], str]


def load(names: Sequence[str], folder: Path) -> list[Method]:
    """Return the methods that `collate.published` names, each once, in the order of names and files.

    Args:
        names: Files (`aio3`), or single methods in them (`aio3/PromptIR`).
        folder: The folder `conf/reference`.

    Raises:
        UserError: There is no such file or method.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.csv"))}
    found: dict[tuple[str, str], Method] = {}
    for name in names:
        source, _, single = name.partition("/")
        if source not in files:
            raise UserError(f"collate.published: no {source}{_hint(source, files)}")
        methods = _read(files[source])
        if single and single not in methods:
            raise UserError(f"collate.published: no {single} in {source}{_hint(single, methods)}")
        for method in [methods[single]] if single else methods.values():
            found.setdefault((source, method.name), method)
    return list(found.values())


def published_rows(table: StudyTable, methods: Sequence[Method]) -> tuple[list[PublishedRow], list[str]]:
    """Return the rows for a study's table, and sentences that say which values were left out and why.

    The average is the paper's own; it is shown if the study has exactly the benchmarks that it averages.
    """
    if list(table.columns.keys) != ["benchmark"]:
        return [], ["Published rows are left out: they need a table whose columns are benchmarks."] if methods else []
    measured = table.images.groupby(["benchmark", "protocol"], observed=True)["image"].nunique()
    here = {benchmark: (protocol, images) for (benchmark, protocol), images in measured.items()}
    benchmarks = [name for (name,) in table.columns.names]
    rows, reasons = [], defaultdict(set)
    for method in methods:
        figures = {}
        for metric in table.spec.metrics:
            column = _column(metric)
            if not any(column in line for line in method.lines.values()):
                reasons[f"{metric.upper()} is not published"].add("")
                continue
            for i, benchmark in enumerate(benchmarks):
                reason = _why_not(method, metric, benchmark, *here[benchmark])
                if reason is None:
                    figures[metric, i] = method.lines[benchmark][column]
                else:
                    reasons[reason].add(method.name)
            whole = all((metric, i) in figures for i in range(len(benchmarks)))
            if whole and set(benchmarks) == method.lines.keys() - {AVERAGE} and AVERAGE in method.lines:
                figures[metric, AVERAGE_COLUMN] = method.lines[AVERAGE][column]
        if figures:
            rows.append(PublishedRow(method, figures))
    texts = [
        reason + (f" ({', '.join(_few(sorted(names)))})" if names != {""} else "") for reason, names in reasons.items()
    ]
    return rows, [f"Left out of the published rows: {'; '.join(texts)}."] if texts else []


def _column(metric: str) -> str:
    """Return a metric's column in the files: its name and unit."""
    return "_".join(filter(None, [metric, METRICS[metric].unit.lower()]))


def _why_not(method: Method, metric: str, benchmark: str, protocol: str, images: int) -> str | None:
    """Return why a published value cannot stand in the column of a benchmark; None if it can."""
    line = method.lines.get(benchmark)
    if line is None or not line[_column(metric)]:
        return f"{benchmark} is not published"
    if int(line["images"]) != images:
        return f"{benchmark} has {images} of {line['images']} images here"
    known = line.get(f"{metric}_protocols", "").split()
    if not known:
        return f"{metric.upper()} of unknown protocol"
    if protocol not in known:
        return f"{metric.upper()} by protocol {' or '.join(known)}, here {protocol}"
    return None


def _read(file: Path) -> dict[str, Method]:
    with open(file, encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    methods: dict[str, Method] = {}
    for row in rows:
        name = row["method"]
        method = methods.setdefault(name, Method(file.stem, name, row["params_millions"], {}))
        method.lines[row["benchmark"]] = row
    return methods


def _few(names: Sequence[str], most: int = 4) -> list[str]:
    return [*names] if len(names) <= most else [*names[:most], f"{len(names) - most} more"]


def _hint(name: str, known: Mapping[str, object]) -> str:
    return suggestion(name, known, f" (there are: {', '.join(known)})")
