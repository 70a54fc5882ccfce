"""A study's table for readers: its numbers as texts of cells, and the notes below it."""

from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pandas as pd

from daair.metrics import METRICS
from daair.report import weights
from daair.report.aggregate import AVERAGE, AVERAGE_COLUMN, COSTS, COSTS_COLUMN, LEFT_OUT
from daair.report.comparable import BUDGET, EPOCHS, TIME
from daair.report.differences import about_tests, mark, signed
from daair.report.published import PublishedRow
from daair.report.table import StudyTable
from daair.report.writers import Block, Cell

WEIGHTS = "train.init"
"""The key whose values are paths, to weights or to the run that made them."""


def blocks(table: StudyTable, published: Sequence[PublishedRow] = ()) -> list[Block]:
    """Return a block of cells per metric; the first block also has the costs."""
    cells = {(line.row, line.column, line.metric): line for line in table.numbers.itertuples()}
    costs = [name for name in COSTS if name in set(table.numbers["metric"])]
    columns = [*range(len(table.columns.names)), *([AVERAGE_COLUMN] if table.has_average else [])]
    headings = [" ".join(table.columns.names[column]) if column >= 0 else AVERAGE for column in columns]
    # The last column shows the difference to the reference: that of the average, or of the only column.
    has_delta = table.reference is not None and (table.has_average or len(columns) == 1)
    made = []
    for i, metric in enumerate(table.spec.metrics):
        shown = costs if i == 0 else []
        header = [*table.rows.keys, *headings]
        header += [f"Δ {AVERAGE}" if table.has_average else "Δ"] * has_delta
        header += [COSTS[name].heading for name in shown]
        rows = []
        for row, names in enumerate(_row_names(table)):
            line = [Cell(name) for name in names]
            line += [_figure(cells[row, column, metric], table) for column in columns]
            line += [_delta(cells[row, columns[-1], metric], table)] * has_delta
            line += [_cost(cells.get((row, COSTS_COLUMN, name)), name) for name in shown]
            rows.append(line)
        below = [
            [
                Cell(one.method.name),
                *[Cell()] * (len(table.rows.keys) - 1),
                *(Cell("–") if figure is None else Cell(figure, value=float(figure)) for figure in figures),
                *[Cell()] * has_delta,
                *(Cell(one.method.parameters if name == "parameters" else "") for name in shown),
            ]
            for one in published
            if any(figures := [one.figures.get((metric, column)) for column in columns])
        ]
        title = "as published" if below else ""
        made.append(Block(_title(metric), header, rows, len(table.rows.keys), below, title))
    return made


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


def notes(table: StudyTable) -> Iterator[str]:
    """Yield the sentences that a reader needs to understand the table."""
    images, runs = table.images, table.runs
    measured = runs[runs["run"].isin(images["run"])]
    counts = images.groupby(["benchmark", "protocol"], observed=True, sort=False)["image"].nunique()
    sizes = ", ".join(f"{benchmark} {count}" for (benchmark, _), count in counts.items())
    seeds = sorted(runs["seed"].dropna().unique().tolist())
    figure = "mean over images"
    if len(seeds) > 1:
        figure = f"mean ± standard deviation over seeds {', '.join(map(str, seeds))} of the {figure}"
    elif seeds:
        figure = f"seed {seeds[0]}, {figure}"
    yield f"Protocol {_listed(images['protocol'])}; {figure} ({sizes})."
    yield from _about_inputs(table)
    if table.has_average:
        yield "Average: mean over the columns."
    yield "Bold: best, underlined: second, of the rounded means; equal ones share a rank."
    if table.reference is not None:
        yield from about_tests(table)
    budget = _budget(weights.trained(measured))
    yield " ".join(filter(None, [budget, f"Hardware: {_listed(measured['hardware'])}.", _origin(measured)]))
    if "macs" in set(table.numbers["metric"]):
        yield "MACs of one 224 × 224 image; images/s: crops per second in training."
    yield from table.notes


def numbers_csv(table: StudyTable) -> str:
    """Return `StudyTable.numbers` as CSV with names in place of positions: a line per row, column and metric."""
    lines = table.numbers.copy()
    for k, key in enumerate(table.rows.keys):
        lines.insert(k, key, [table.rows.names[row][k] for row in lines["row"]])
    columns = {i: " ".join(name) for i, name in enumerate(table.columns.names)} | {AVERAGE_COLUMN: AVERAGE}
    lines["column"] = lines["column"].map(columns).fillna("")
    lines["reference"] = lines["row"] == table.reference if table.reference is not None else False
    if len(others := table.runs[~weights.is_trained(table.runs)]):
        facts = others.set_index(table.rows.positions(others).astype(int))[["origin", "weights_file", "weights_digest"]]
        lines = lines.join(facts, on="row")
        lines[["seeds", "expected"]] = lines[["seeds", "expected"]].astype("Int64").mask(lines["row"].isin(facts.index))
    return lines.drop(columns="row").to_csv(index=False)


def _title(name: str) -> str:
    metric = METRICS[name]
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.header} {'↑' if metric.higher_is_better else '↓'}{unit}"


def _figure(line, table: StudyTable) -> Cell:
    digits = METRICS[line.metric].digits
    count = "" if line.seeds == line.expected else f" ({line.seeds}/{line.expected})"
    if not line.seeds:
        return Cell(f"–{count}")
    marks = mark(line, table.spec.alpha) + (LEFT_OUT if line.not_finite else "")
    spread = f" ± {line.sd:.{digits}f}" if line.seeds > 1 else ""
    return Cell(f"{line.mean:z.{digits}f}{marks}{spread}{count}", line.rank == 1, line.rank == 2, line.mean)


def _delta(line, table: StudyTable) -> Cell:
    if line.row == table.reference:
        return Cell("ref.")
    known = not pd.isna(line.delta)
    return Cell(signed(line.delta, METRICS[line.metric].digits), value=line.delta if known else None)


def _cost(line, name: str) -> Cell:
    if line is None or not line.seeds:
        return Cell("–")
    return Cell(f"{line.mean / COSTS[name].divisor:.{COSTS[name].digits}f}", value=line.mean)


def _about_inputs(table: StudyTable) -> Iterator[str]:
    """Yield a sentence with the metrics of the degraded inputs, as a baseline for the table's values."""
    once = table.images.drop_duplicates(["benchmark", "protocol", "image"])
    parts = []
    for name, metric in METRICS.items():
        column = f"input_{name}"
        if not (metric.always or name in table.spec.metrics) or column not in once or once[column].isna().all():
            continue
        finite = once.assign(**{column: once[column].where(np.isfinite(once[column]))})
        means = finite.groupby(["benchmark", "protocol"], observed=True, sort=False)[column].mean()
        several = means.index.get_level_values("protocol").nunique() > 1
        figures = [
            f"{' '.join(key) if several else key[0]} {'–' if np.isnan(mean) else f'{mean:z.{metric.digits}f}'}"
            for key, mean in means.items()
        ]
        left_out = int(np.isinf(once[column]).sum())
        without = f" (without {left_out} infinite)" if left_out else ""
        parts.append(f"{metric.header} {', '.join(figures)}{f' {metric.unit}' if metric.unit else ''}{without}")
    if parts:
        yield f"Degraded inputs: {'; '.join(parts)}."


def _budget(runs: pd.DataFrame) -> str:
    """Return the time, or the updates and crops, that all runs have in common; empty if they differ in it."""
    times = runs[TIME].astype("string").fillna("").unique() if TIME in runs else [""]
    if len(times) > 1 or times[0]:
        time = f"Trained for {times[0]} each" if len(times) == 1 else f"With a {TIME}, trained for that time"
        text = f"{time}, without validation and waiting for images; updates: how many that gave"
        minutes = runs.loc[runs[TIME].notna(), "update_seconds"].dropna().astype(float) / 60
        return text + (f" (they took {minutes.min():.1f} to {minutes.max():.1f} min)." if len(minutes) else ".")
    steps, batch, accumulation, patch, phases = (runs[key].dropna().unique() if key in runs else () for key in BUDGET)
    epochs = runs[EPOCHS].dropna().unique() if EPOCHS in runs else ()
    if len(steps) + len(epochs) != 1:
        return ""
    text = f"{epochs[0]:g} epochs" if len(epochs) else f"{steps[0]:,.0f} updates"
    if len(batch) == 1 and len(accumulation) == 1 and set(phases) <= {"[]"}:
        text += f" of {batch[0] * accumulation[0]:.0f} crops"
        text += f" of {patch[0]:.0f} pixels" if len(patch) == 1 else ""
    return text + "."


def _origin(runs: pd.DataFrame) -> str:
    """Return the commits and dates of the runs."""
    commits = dict.fromkeys(text[:7] + ("+" if text.endswith("+") else "") for text in runs["commit"].dropna())
    days = sorted({text[:10] for text in (*runs["started"].dropna(), *runs["finished"].dropna())})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "unknown"
    return f"Commit {', '.join(commits) or 'unknown'}; runs of {when}."


def _listed(values: pd.Series) -> str:
    return ", ".join(map(str, values.dropna().unique())) or "unknown"
