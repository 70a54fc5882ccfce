"""Rows from papers beside own ones: only figures on the same benchmark, all its images, by the same protocol."""

import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daair.errors import UserError, nearest
from daair.report.cells import AVERAGE
from daair.report.pivot import Study

METRICS = {"psnr": "psnr_db", "ssim": "ssim"}
"""Metrics that papers print, and their columns in the files."""


@dataclass(frozen=True)
class Method:
    """A method as published.

    Attributes:
        source: name of the file, e.g. `aio3`.
        name: as printed.
        parameters: in millions, as printed; may be empty.
        lines: of the file, by benchmark; `average` among them.
    """

    source: str
    name: str
    parameters: str
    lines: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Beside:
    """What of a method can stand beside a study's rows: texts by (metric, column), -1 being the average."""

    method: Method
    figures: Mapping[tuple[str, int], str]


def load(names: Sequence[str], folder: Path) -> list[Method]:
    """Return the methods that `collate.published` names, each once, in the order of names and files.

    Args:
        names: files (`aio3`), or single methods in them (`aio3/PromptIR`).
        folder: conf/reference.

    Raises:
        UserError: there is no such file or method.
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


def beside(study: Study, methods: Sequence[Method]) -> tuple[list[Beside], list[str]]:
    """Return what of the methods can be shown with a study's table, and sentences on what cannot and why.

    The average is the paper's own; it is shown if the table's columns are exactly the benchmarks that it is over.
    """
    measured = study.images.groupby(["benchmark", "protocol"], observed=True)["image"].nunique().reset_index()
    images = dict(zip(measured["benchmark"], measured["image"], strict=True))
    protocols = dict(zip(measured["benchmark"], measured["protocol"], strict=True))
    if list(study.plan.columns) != ["benchmark"]:
        return [], ["Published rows are left out: they need a table whose columns are benchmarks."] if methods else []
    benchmarks = [name for (name,) in study.columns]
    shown, reasons = [], defaultdict(set)
    for method in methods:
        figures = {}
        for metric in study.plan.metrics:
            if metric not in METRICS:
                reasons[f"{metric.upper()} is not published"].add("")
                continue
            for column, benchmark in enumerate(benchmarks):
                reason = _why_not(method, metric, benchmark, images, protocols)
                if reason is None:
                    figures[metric, column] = method.lines[benchmark][METRICS[metric]]
                else:
                    reasons[reason].add(method.name)
            whole = all((metric, column) in figures for column in range(len(benchmarks)))
            if whole and set(benchmarks) == method.lines.keys() - {AVERAGE} and AVERAGE in method.lines:
                figures[metric, -1] = method.lines[AVERAGE][METRICS[metric]]
        if figures:
            shown.append(Beside(method, figures))
    if not reasons:
        return shown, []
    told = [
        reason + (f" ({', '.join(_few(sorted(names)))})" if names != {""} else "") for reason, names in reasons.items()
    ]
    return shown, [f"Left out of the published rows: {'; '.join(told)}."]


def _why_not(
    method: Method, metric: str, benchmark: str, images: Mapping[str, int], protocols: Mapping[str, str]
) -> str | None:
    """Return why a published figure cannot stand in a column; None if it can."""
    line = method.lines.get(benchmark)
    if line is None or not line[METRICS[metric]]:
        return f"{benchmark} is not published"
    if int(line["images"]) != images[benchmark]:
        return f"{benchmark} has {images[benchmark]} of {line['images']} images here"
    known = line[f"{metric}_protocols"].split()
    if not known:
        return f"{metric.upper()} of unknown protocol"
    if protocols[benchmark] not in known:
        return f"{metric.upper()} by protocol {' or '.join(known)}, here {protocols[benchmark]}"
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
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else f" (there are: {', '.join(known)})"
