"""The table of one run: one row per benchmark and protocol, with the means over the images.

No mean contains values that are not finite, such as the PSNR of equal images; they are counted and named below it.
"""

import math

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from daair.metrics import METRICS, Metric, derived, finite, optional_columns, required_columns

KEYS = ["benchmark", "protocol"]
WHOLE = "whole"


def per_benchmark(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the means over the images of each benchmark and protocol, in the order of first appearance.

    Args:
        rows: Rows per image; see `daair.engine.evaluate`.

    Returns:
        Columns `benchmark`, `protocol`, `images`, `tile` (see `tiles`) and those of the measured metrics, with the
        prefix `input_` for the degraded images. Means with different `tile` are not comparable.
    """
    rows = rows.reset_index(drop=True)  # numbers that occur twice, as in tables that were put together, would join rows
    whole = rows.assign(**{metric.name: metric.derive(rows) for metric in derived()})
    columns = [name for name in _columns() if name in whole]
    finite_ones = whole[KEYS].join(whole[columns].mask(finite.not_finite(whole, columns)))
    groups = rows.groupby(KEYS, sort=False)
    means = finite_ones.groupby(KEYS, sort=False).mean()
    means.insert(0, "images", groups.size())
    means.insert(1, "tile", pd.Series(tiles(rows)))
    return means.reset_index()


def tiles(rows: pd.DataFrame) -> dict[tuple[str, str], str]:
    """Return how the images of each benchmark and protocol were restored: `whole`, in tiles (`512`), or `whole+512`."""
    groups = rows.groupby(KEYS, sort=False)["tile"]
    return {pair: "+".join(str(side or WHOLE) for side in sorted(set(group))) for pair, group in groups}


def texts(means: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    """Format the table of `per_benchmark`; return its headings and the texts of its rows."""
    names = [*KEYS, "images"]
    if (means["tile"] != WHOLE).any():
        names.append("tile")
    headings = {name: name for name in names} | {name: _heading(name) for name in _columns() if name in means}
    rows = [[_text(name, row[name]) for name in headings] for _, row in means.iterrows()]
    return list(headings.values()), rows


def show(rows: pd.DataFrame, console: Console) -> None:
    """Print the table of `per_benchmark`, and which values are in none of its means."""
    headings, lines = texts(per_benchmark(rows))
    table = Table()
    for i, heading in enumerate(headings):
        table.add_column(escape(heading), justify="left" if i < len(KEYS) else "right", no_wrap=i < len(KEYS))
    for line in lines:
        table.add_row(*map(escape, line))
    console.print(table)
    measured = [name for name in _columns() if name in rows and not _metric(name).derive]
    for sentence in finite.sentences(rows, measured):
        console.print(sentence, markup=False, soft_wrap=True)


def _columns() -> list[str]:
    """Return the columns of all metrics, in the order of the table."""
    return [*required_columns(), *(metric.name for metric in derived()), *optional_columns()]


def _metric(column: str) -> Metric:
    return METRICS[column.removeprefix("input_")]


def _heading(column: str) -> str:
    """Return a heading such as `input PSNR`, `PSNR` or `gain dB`; only derived metrics have their unit in it."""
    metric = _metric(column)
    if metric.derive:
        return f"{metric.header} {metric.unit}".strip()
    return f"input {metric.header}" if column != metric.name else metric.header


def _text(column: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "–"
    metric = _metric(column)
    return f"{value:{'+z' if metric.derive else ''}.{metric.digits}f}"
