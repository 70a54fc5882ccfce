"""Rows from papers for a study's table: only values for the same benchmark, all its images and the same protocol."""

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from daair.errors import UserError, suggestion
from daair.metrics import METRICS
from daair.report.aggregate import AVERAGE
from daair.report.names import Names
from daair.report.table import StudyTable

REQUIRED = ("method", "benchmark")
KNOWN = (*REQUIRED, "params_millions", "images", "group")
"""Columns of a file besides those of the metrics: values (`psnr_db` or `psnr`) and protocols (`psnr_protocols`)."""

SUBSET = "§"
"""The mark of values on more images than were measured here."""


@dataclass(frozen=True)
class Method:
    """A published method.

    Attributes:
        source: Name of the file, e.g. `aio3`.
        name: The name as printed.
        parameters: Parameters in millions, as printed; may be empty.
        lines: The method's lines of the file, by benchmark, including `average`.
        group: Title of its group of rows; may be empty.
    """

    source: str
    name: str
    parameters: str
    lines: Mapping[str, Mapping[str, str]]
    group: str = ""


@dataclass(frozen=True, eq=False)
class PublishedRow:
    """The values of a method that can stand in a study's table.

    Attributes:
        method: The method.
        figures: Texts by metric and position of the column, as printed.
    """

    method: Method
    figures: Mapping[tuple[str, int], str]

    def value(self, metric: str, place: int) -> float | None:
        """Return a value as a number; None if there is none, or if it is of other images."""
        figure = self.figures.get((metric, place))
        return None if figure is None or SUBSET in figure else float(figure)


def load(names: Sequence[str], folder: Path) -> list[Method]:
    """Return the methods that `collate.published` names, each once, in the order of names and files.

    Args:
        names: Files of `folder` (`aio3`), single methods in them (`aio3/PromptIR`), or paths of files (`mine.csv`).
        folder: The folder `conf/reference`.

    Raises:
        UserError: There is no such file or method, or a file has no such form.
    """
    files = {path.stem: path for path in sorted(folder.glob("*.csv"))}
    found: dict[tuple[str, str], Method] = {}
    for name in names:
        if name.endswith(".csv"):
            for method in _read(Path(name)).values():
                found.setdefault((name, method.name), method)
            continue
        source, _, single = name.partition("/")
        if source not in files:
            raise UserError(f"collate.published: no {source}{_hint(source, files)}")
        methods = _read(files[source])
        if single and single not in methods:
            raise UserError(f"collate.published: no {single} in {source}{_hint(single, methods)}")
        for method in [methods[single]] if single else methods.values():
            found.setdefault((source, method.name), method)
    return list(found.values())


def published_rows(
    table: StudyTable,
    methods: Sequence[Method],
    subsets: bool = False,
    names: Names = Names(),  # noqa: B008 - immutable
) -> tuple[list[PublishedRow], list[str]]:
    """Return the rows for a study's table, and sentences that say which values were left out and why.

    An average is the paper's own if it averages exactly the table's benchmarks, else the mean of the printed values.

    Args:
        table: The table.
        methods: The methods.
        subsets: Whether to show, with a mark, values on all images of a benchmark of which a part was measured here.
        names: Headings of the benchmarks.
    """
    if "benchmark" not in table.columns.keys or not set(table.columns.keys) <= {"benchmark", "degradation"}:
        return [], ["Published rows are left out: they need a table whose columns are benchmarks."] if methods else []
    measured = table.images.groupby(["benchmark", "protocol"], observed=True)["image"].nunique()
    here = {benchmark: (protocol, images) for (benchmark, protocol), images in measured.items()}
    at = table.columns.keys.index("benchmark")
    benchmarks = [name[at] for name in table.columns.names]
    rows, reasons, marked = [], defaultdict(set), set()
    for method in methods:
        figures = {}
        for benchmark, line in method.lines.items():
            known = {AVERAGE, *here, *names.degradations}
            if benchmark not in known and "images" not in line and names.degradations:  # a file of the user's own
                hint = suggestion(benchmark, known)
                reasons[f"no benchmark is called {benchmark}{hint}"].add(method.name)
        for metric in table.spec.metrics:
            if not any(_figure(line, metric) for line in method.lines.values()):
                reasons[f"{METRICS[metric].header} is not published"].add("")
                continue
            for i, benchmark in enumerate(benchmarks):
                reason, is_subset = _why_not(method, metric, benchmark, names, *here[benchmark])
                if reason is None or (is_subset and subsets):
                    figures[metric, i] = _figure(method.lines[benchmark], metric) + (SUBSET if reason else "")
                    marked |= {f"{names.of(benchmark)} ({here[benchmark][1]} here)"} if reason else set()
                else:
                    reasons[reason].add(method.name)
            figures |= _averages(table, method, metric, benchmarks, figures)
        if figures:
            rows.append(PublishedRow(method, figures))
    texts = [
        reason + (f" ({', '.join(_few(sorted(names)))})" if names != {""} else "") for reason, names in reasons.items()
    ]
    notes = [f"Left out of the published rows: {'; '.join(texts)}."] if texts else []
    notes += [f"{SUBSET} on all images of {', '.join(sorted(marked))}; such values are not ranked."] if marked else []
    return rows, [*notes, *_unsaid(rows)]


def _averages(
    table: StudyTable, method: Method, metric: str, benchmarks: Sequence[str], figures: Mapping[tuple[str, int], str]
) -> dict[tuple[str, int], str]:
    """Return the averages of a method for which it has all values."""
    found = {}
    for place, (_, over) in table.averages.items():
        values = [figures.get((metric, i)) for i in over]
        if None in values:
            continue
        own = method.lines.keys() - {AVERAGE} == {benchmarks[i] for i in over}
        printed = _figure(method.lines[AVERAGE], metric) if own and AVERAGE in method.lines else ""
        plain = [value.removesuffix(SUBSET) for value in values]
        digits = max(len(value.partition(".")[2]) for value in plain)
        mean = printed or f"{sum(map(float, plain)) / len(plain):.{digits}f}"
        found[metric, place] = mean + (SUBSET if plain != values else "")
    return found


def _unsaid(rows: Sequence[PublishedRow]) -> list[str]:
    """Return a sentence on files that do not say on how many images or by which protocol their values are."""
    lines = [(one.method.source, line) for one in rows for name, line in one.method.lines.items() if name != AVERAGE]
    unsaid = {source for source, line in lines if not line.get("images")}
    return [f"{', '.join(sorted(unsaid))}: taken as given, on the same images by the same protocol."] if unsaid else []


def _figure(line: Mapping[str, str], metric: str) -> str:
    """Return the printed value of a metric; empty if there is none."""
    return line.get(_column(metric)) or line.get(metric) or ""


def _column(metric: str) -> str:
    """Return a metric's column in the files: its name and unit."""
    return "_".join(filter(None, [metric, METRICS[metric].unit.lower()]))


def _why_not(
    method: Method, metric: str, benchmark: str, names: Names, protocol: str, images: int
) -> tuple[str | None, bool]:
    """Return why a published value cannot stand in the column of a benchmark, and whether only its images are more."""
    line, name = method.lines.get(benchmark), METRICS[metric].header
    if line is None or not _figure(line, metric):
        return f"{names.of(benchmark)} is not published", False
    if "images" not in line and f"{metric}_protocols" not in line:
        return None, False  # a file of the user's own, who vouches for it
    known = line.get(f"{metric}_protocols", "").split()
    other = None
    if f"{metric}_protocols" in line and protocol not in known:
        by = f"by protocol {' or '.join(known)}, here {protocol}" if known else "of unknown protocol"
        other = f"{name} {by}"
    if other is None and line.get("images") and int(line["images"]) != images:
        more = int(line["images"]) > images
        return f"{names.of(benchmark)} has {images} of {line['images']} images here", more
    return other, False


def _read(file: Path) -> dict[str, Method]:
    """Return the methods of a file.

    Raises:
        UserError: It cannot be read, lacks a column or has a value that is no number.
    """
    where = f"collate.published: {file}"
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: cannot be read ({getattr(error, 'strerror', 'not UTF-8')})") from None
    rows = list(csv.DictReader(line for line in text.splitlines() if line.strip() and not line.startswith("#")))
    values = {name for metric in METRICS for name in (metric, _column(metric))}
    known = [*KNOWN, *sorted(values), *(f"{metric}_protocols" for metric in METRICS)]
    has = list(rows[0]) if rows else []
    for name in REQUIRED:
        if name not in has:
            raise UserError(f"{where}: has no column {name} (columns: {', '.join(map(str, has)) or 'none'})")
    for name in has:
        if name not in known:
            raise UserError(f"{where}: unknown column {name}{suggestion(str(name), known)}")
    methods: dict[str, Method] = {}
    for row in rows:
        for name in values & set(has):
            if row[name] and not _is_number(row[name]):
                raise UserError(f"{where}: {name} of {row['method']} on {row['benchmark']} is no number: {row[name]}")
        if row.get("images") and not row["images"].isdigit():
            raise UserError(f"{where}: images of {row['method']} on {row['benchmark']} is no number: {row['images']}")
        fresh = Method(file.stem, row["method"], row.get("params_millions") or "", {}, row.get("group") or "")
        methods.setdefault(row["method"], fresh).lines[row["benchmark"]] = {k: v or "" for k, v in row.items()}
    return methods


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?[0-9]+([.][0-9]+)?", text) is not None


def _few(names: Sequence[str], most: int = 4) -> list[str]:
    return [*names] if len(names) <= most else [*names[:most], f"{len(names) - most} more"]


def _hint(name: str, known: Mapping[str, object]) -> str:
    return suggestion(name, known, f" (there are: {', '.join(known)})")
