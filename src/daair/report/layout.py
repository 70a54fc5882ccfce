"""A study's table for readers: its numbers as texts of cells, and the notes below it."""

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby, islice

import numpy as np
import pandas as pd

from daair.config.table_look import TableLook
from daair.metrics import METRICS
from daair.metrics.finite import not_finite
from daair.report import evaluated, order
from daair.report.columns import Column, Maker, Row, costs_of, lines_of
from daair.report.comparable import BUDGET, EPOCHS, TIME, stopped_early
from daair.report.differences import about_averages, about_tests
from daair.report.names import Names
from daair.report.published import PublishedRow
from daair.report.table import StudyTable
from daair.report.writers import Block, Cell, Part, to_csv

WEIGHTS = "train.init"
"""The key whose values are paths, to weights or to the run that made them."""


def blocks(
    table: StudyTable,
    published: Sequence[PublishedRow] = (),
    look: TableLook = TableLook(),  # noqa: B008 - immutable
    names: Names = Names(),  # noqa: B008 - immutable
) -> list[Block]:
    """Return the table as blocks of cells: one per metric, of which the first also has the costs, or one for all.

    Raises:
        UserError: `look` names a row, column or key that is not there.
    """
    order.check_order(table, look)
    columns = order.ordered(table.columns, look.order or {})
    columns += [] if look.hides("average") else list(table.averages)
    groups = order.grouped(table, order.ordered(table.rows, look.order or {}), published, look, names)
    lines = lines_of(table)
    maker = Maker(table, look, names, columns, order.ranks(table, columns, groups, look, lines), lines)
    metrics = table.spec.metrics
    if look.metrics_in == "cells":
        found = [(" / ".join(map(_title, metrics)), [*maker.of_metrics(metrics), *maker.costs()], metrics)]
    elif look.metrics_in == "columns":
        found = [("", [*maker.beside(metrics), *maker.costs()], metrics)]
    else:
        found = [
            (_title(metric), maker.of_metrics([metric]) + (maker.costs() if i == 0 else []), [metric])
            for i, metric in enumerate(metrics)
        ]
    made = [_block(table, title, shown, groups, of_metrics, names) for title, shown, of_metrics in found]
    return [_transposed(block, names) for block in made] if table.transposed else made


def _block(
    table: StudyTable,
    title: str,
    columns: Sequence[Column],
    groups: Sequence[tuple[str, Sequence[Row]]],
    metrics: Sequence[str],
    names: Names,
) -> Block:
    keys, row_names = table.rows.keys, _row_names(table)

    def cells(row: Row) -> list[Cell]:
        if isinstance(row, PublishedRow):
            own = [Cell(names.of(row.method.name)), *[Cell()] * (len(keys) - 1)]
        else:
            own = [Cell(names.of(name)) for name in row_names[row]]
        return own + [column.cell(row) for column in columns]

    parts = []
    for group, rows in groups:
        kept = [
            row for row in rows if not isinstance(row, PublishedRow) or any(name in metrics for name, _ in row.figures)
        ]
        if kept:
            theirs = all(isinstance(row, PublishedRow) for row in kept)
            parts.append(Part(group, [cells(row) for row in kept], published=theirs))
    own = parts.pop(0).rows if parts and not parts[0].title and not parts[0].published else []
    over = [
        (text, len(list(some))) for text, some in groupby([*[""] * len(keys), *(column.over for column in columns)])
    ]
    header = [*map(names.of, keys), *(column.heading for column in columns)]
    return Block(title, header, own, len(keys), parts, over if any(text for text, _ in over) else ())


def _transposed(block: Block, names: Names) -> Block:
    """Return a block with rows for columns: its row names become headings, its headings the first column."""
    lines = [cells for part in block.sections for cells in part.rows]
    heads = [" ".join(filter(None, (cell.text for cell in cells[: block.names]))) for cells in lines]
    first = names.of("benchmark") if names.of("benchmark") != "benchmark" else ""
    rows = [
        [Cell(heading), *(cells[i] for cells in lines)]
        for i, heading in enumerate(block.whole_header)
        if i >= block.names
    ]
    return Block(block.title, [first, *heads], rows)


def as_published(table: StudyTable, published: Sequence[PublishedRow], look: TableLook) -> Iterator[str]:
    """Yield a sentence that names published rows where no title of their own does."""
    if published and (look.groups is not None or table.transposed):
        yield f"As published: {', '.join(dict.fromkeys(one.method.name for one in published))}."


def _row_names(table: StudyTable) -> list[tuple[str, ...]]:
    """Return the names of the rows; paths of weights are shortened."""
    names = table.rows.names
    for at in (i for i, key in enumerate(table.rows.keys) if key == WEIGHTS):
        short = shortest_paths([name[at] for name in names])
        names = [(*name[:at], short[name[at]], *name[at + 1 :]) for name in names]
    return list(names)


def shortest_paths(paths: Collection[str]) -> dict[str, str]:
    """Return the shortest ends of the paths that tell all of them apart, at least two parts each."""
    parts = {path: [part for part in path.split("/") if part] for path in paths}
    for count in range(2, max(map(len, parts.values()), default=0)):
        short = {path: "/".join(of_path[-count:]) or path for path, of_path in parts.items()}
        if len(set(short.values())) == len(short):
            return short
    return {path: path for path in paths}


def notes(
    table: StudyTable,
    look: TableLook = TableLook(),  # noqa: B008 - immutable
    names: Names = Names(),  # noqa: B008 - immutable
) -> Iterator[str]:
    """Yield the sentences that a reader needs to understand the table."""
    images, runs = table.images, table.runs
    measured = runs[runs["run"].isin(images["run"])]
    counts = images.groupby(["benchmark", "protocol"], observed=True, sort=False)["image"].nunique()
    sizes = ", ".join(f"{names.of(benchmark)} {count}" for (benchmark, _), count in counts.items())
    seeds = sorted(measured["seed"].dropna().unique().tolist())
    several = len({"benchmark"} & set(table.columns.keys)) == 0 and len(counts) > 1
    figure = "mean over images" + ", then over the benchmarks of a column" * several
    if len(seeds) > 1:
        spread = "" if look.hides("spread") else " ± standard deviation"
        figure = f"mean{spread} over seeds {', '.join(map(str, seeds))} of the {figure}"
    elif seeds:
        figure = f"seed {seeds[0]}, {figure}"
    yield f"Protocol {_listed(images['protocol'])}; {figure} ({sizes})."
    yield from _about_inputs(table, names)
    if not look.hides("average"):
        yield from _about_averages(table, names)
    if look.best != "none":
        among = {"all": " of all rows", "groups": " of each group"}.get(look.best or "", "")
        yield f"Bold: best, underlined: second{among}, of the rounded means; equal ones share a rank."
    if look.best in (None, "own") and 0 < len(evaluated.trained(measured)) < len(measured):
        yield "Rows not trained in this study are not ranked: other data and another budget may have made them."
    if table.reference is not None and not (look.hides("stars") and look.hides("delta")):
        yield from islice(about_tests(table), 1 if look.hides("stars") else None)
        if not (look.hides("average") or look.hides("delta")):
            yield from about_averages(table, names)
    budget = _budget(evaluated.trained(measured))
    yield " ".join(filter(None, [budget, f"Hardware: {_listed(measured['hardware'])}.", _origin(measured)]))
    shown = costs_of(table, look)
    about = ["MACs of one 224 × 224 image"] * ("macs" in shown)
    about += ["images/s: crops per second in training"] * ("images_per_second" in shown)
    if about:
        yield "; ".join(about) + "."
    yield from table.notes


def numbers_csv(table: StudyTable) -> str:
    """Return `StudyTable.numbers` as CSV with names in place of positions: a line per row, column and metric."""
    lines = table.numbers.copy()
    for k, key in enumerate(table.rows.keys):
        lines.insert(k, key, [table.rows.names[row][k] for row in lines["row"]])
    columns = {i: " ".join(name) for i, name in enumerate(table.columns.names)}
    columns |= {place: heading for place, (heading, _) in table.averages.items()}
    lines["column"] = lines["column"].map(columns).fillna("")
    lines["reference"] = lines["row"] == table.reference if table.reference is not None else False
    if len(others := table.runs[~evaluated.is_trained(table.runs)]):
        facts = others.set_index(table.rows.positions(others).astype(int))[["origin", "weights_file", "weights_digest"]]
        lines = lines.join(facts, on="row")
        lines[["seeds", "expected"]] = lines[["seeds", "expected"]].astype("Int64").mask(lines["row"].isin(facts.index))
    return to_csv(lines.drop(columns="row"))


def _title(name: str) -> str:
    metric = METRICS[name]
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.header} {'↑' if metric.higher_is_better else '↓'}{unit}"


def _about_averages(table: StudyTable, names: Names) -> Iterator[str]:
    """Yield a sentence on each average."""
    for heading, over in table.averages.values():
        whole = len(over) == len(table.columns.names)
        names_of = ", ".join(names.joined(table.columns.names[i]) for i in over)
        text = names.of(heading)
        yield f"{text[:1].upper()}{text[1:]}: mean over {'the columns' if whole else names_of}."


def _about_inputs(table: StudyTable, names: Names) -> Iterator[str]:
    """Yield a sentence with the metrics of the degraded inputs, as a baseline for the table's values."""
    once = table.images.drop_duplicates(["benchmark", "protocol", "image"])
    parts = []
    for name, metric in METRICS.items():
        column = f"input_{name}"
        if not (metric.always or name in table.spec.metrics) or column not in once or once[column].isna().all():
            continue
        strange = not_finite(once, [column])[column]
        finite = once.assign(**{column: once[column].mask(strange)})
        means = finite.groupby(["benchmark", "protocol"], observed=True, sort=False)[column].mean()
        several = means.index.get_level_values("protocol").nunique() > 1
        figures = [
            f"{names.joined(key if several else key[:1])} {'–' if np.isnan(mean) else f'{mean:z.{metric.digits}f}'}"
            for key, mean in means.items()
        ]
        without = f" (without {strange.sum()} not finite)" if strange.any() else ""
        parts.append(f"{metric.header} {', '.join(figures)}{f' {metric.unit}' if metric.unit else ''}{without}")
    if parts:
        yield f"Degraded inputs: {'; '.join(parts)}."


def _budget(runs: pd.DataFrame) -> str:
    """Return the time, or the updates and crops, that all runs have in common; empty if they differ in it.

    It is an upper limit if runs stopped before it.
    """
    limit = "up to " if stopped_early(runs).any() else ""
    times = runs[TIME].astype("string").fillna("").unique() if TIME in runs else [""]
    if len(times) > 1 or times[0]:
        began, time = ("Trained", f"{times[0]} each") if len(times) == 1 else (f"With a {TIME}, trained", "that time")
        text = f"{began} for {limit}{time}, without validation and waiting for images; updates: how many that gave"
        minutes = runs.loc[runs[TIME].notna(), "update_seconds"].dropna().astype(float) / 60
        return text + (f" (they took {minutes.min():.1f} to {minutes.max():.1f} min)." if len(minutes) else ".")
    steps, batch, accumulation, patch, phases = (runs[key].dropna().unique() if key in runs else () for key in BUDGET)
    epochs = runs[EPOCHS].dropna().unique() if EPOCHS in runs else ()
    if len(steps) + len(epochs) != 1:
        return ""
    text = limit + (f"{epochs[0]:g} epochs" if len(epochs) else f"{steps[0]:,.0f} updates")
    if len(batch) == 1 and len(accumulation) == 1 and set(phases) <= {"[]"}:
        text += f" of {batch[0] * accumulation[0]:.0f} crops"
        text += f" of {patch[0]:.0f} pixels" if len(patch) == 1 else ""
    return text + "."


def _origin(runs: pd.DataFrame) -> str:
    """Return the commits and dates of the runs."""
    commits = dict.fromkeys(text[:7] + ("+" if text.endswith("+") else "") for text in runs["commit"].dropna())
    days = sorted({text[:10] for text in (*runs["started"].dropna(), *runs["finished"].dropna())})
    when = f"; runs of {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
    return f"Commit {', '.join(commits) or 'unknown'}{when}.{_own_code(runs)}"


def _own_code(runs: pd.DataFrame) -> str:
    """Return which versions of the users' own code made the runs; empty if none did."""
    versions: dict[str, dict[str, None]] = {}
    for text in runs["own_code"].dropna().unique() if "own_code" in runs else ():
        for name, digest in (part.split() for part in text.split(", ")):
            versions.setdefault(name, {}).update(dict.fromkeys(digest.split("+")))  # a run may have been resumed
    parts = [
        f"{name} {next(iter(found))}" if len(found) == 1 else f"{len(found)} versions of {name} ({', '.join(found)})"
        for name, found in versions.items()
    ]
    return f" Code of one's own: {', '.join(parts)}." if parts else ""


def _listed(values: pd.Series) -> str:
    return ", ".join(map(str, values.dropna().unique())) or "unknown"
