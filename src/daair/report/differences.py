"""What a table says about differences to its reference: the marks of cells, the notes on tests, the intervals."""

import math
from collections.abc import Iterator

import pandas as pd

from daair.metrics import METRICS
from daair.report.names import Names
from daair.report.statistics import SEEDS
from daair.report.table import StudyTable
from daair.report.writers import Block, Cell

VARIANTS, NETWORKS = "*", "†"
"""Marks of differences that hold for the variants, and for these trained networks only."""


def mark(line, alpha: float) -> str:
    """Return the mark of a line of `StudyTable.numbers`: its corrected p is below alpha and its interval excludes 0."""
    if not line.p_holm < alpha:
        return ""
    if pd.isna(line.p):
        return NETWORKS if line.images_low * line.images_high > 0 else ""
    return VARIANTS if line.delta_low * line.delta_high > 0 else ""


def signed(value: float, digits: int) -> str:
    """Return a number with its sign and a real minus; an en dash for nan."""
    return "–" if pd.isna(value) else f"{value:+z.{digits}f}".replace("-", "−")


def about_tests(table: StudyTable) -> Iterator[str]:
    """Yield sentences on the reference, the tests and their number; nothing about tests if there were none."""
    numbers, alpha = table.numbers, table.spec.alpha
    named = zip(table.rows.keys, table.rows.names[table.reference], strict=True)
    reference = f"{', '.join(f'{key} = {name}' for key, name in named)} (ref.)"
    yield f"Δ: difference to {reference}."
    tests = table.tests
    trained = numbers["row"].clip(lower=table.reference) < table.rows.trained
    if (trained & (numbers["column"] >= 0) & numbers["delta"].notna() & numbers["p_holm"].isna()).any():
        yield "Columns of several benchmarks are not tested, because one photograph may occur in several."
    if not tests:
        return
    of_networks = numbers["p_holm"].notna() & numbers["p"].isna()
    if (numbers["p_holm"].notna() & numbers["p"].notna()).any():
        yield (
            f"{VARIANTS} differs from the reference beyond the chance of images and seeds: crossed random effects of "
            "both (Satterthwaite) and a t test over seeds, the larger p."
        )
    if of_networks.any():
        yield (
            f"{NETWORKS} these networks differ from the reference's, on images like these; fewer than {SEEDS} seeds, "
            "or a single image, cannot tell more: Wilcoxon signed-rank test, paired over images after averaging over "
            "seeds."
        )
    correction = f"after Holm's correction over all {tests} tests" if tests > 1 else "in the only test"
    yield f"Marks: p < {alpha:g} {correction}, and the {100 * (1 - alpha):g} % interval excludes 0."
    enough = 2 + math.floor(math.log2(1 / alpha))  # the smallest p for n images is 2 / 2^n
    if of_networks.any() and numbers.loc[of_networks, "paired_images"].min() < enough:
        yield f"Fewer than {enough} images cannot reach p < {alpha:g}, whatever they show."


def about_averages(table: StudyTable, names: Names) -> Iterator[str]:
    """Yield a sentence with the intervals of the first average's differences, in the first metric."""
    place = next(iter(table.averages), None)
    numbers, digits = table.numbers, METRICS[table.spec.metrics[0]].digits
    chosen = numbers[(numbers["column"] == place) & (numbers["metric"] == table.spec.metrics[0])]
    spans = [
        f"{names.joined(table.rows.names[line.row])} {_span(line.delta_low, line.delta_high, digits)}"
        for line in chosen[chosen["delta_low"].notna()].itertuples()
    ]
    if spans:
        level, heading = f"{100 * (1 - table.spec.alpha):g} %", names.of(table.averages[place][0])
        yield (
            f"{level} intervals of Δ {heading} for other seeds and these images (t test over seeds, not corrected for "
            f"their number): {', '.join(spans)}."
        )


def intervals(table: StudyTable, names: Names = Names()) -> Block | None:  # noqa: B008 - immutable
    """Return a table of the differences with both intervals and the corrected p; None if there are none.

    Averages have an interval for other seeds alone, and no test.
    """
    if table.reference is None or (table.numbers["p_holm"].isna() & table.numbers["delta_low"].isna()).all():
        return None
    level = f"{100 * (1 - table.spec.alpha):g} %"
    header = [
        *map(names.of, table.rows.keys), "column", "metric", "Δ", f"{level} interval, images and seeds",
        f"{level} interval, these networks", "p (Holm)", "images", "seeds",
    ]  # fmt: skip
    rows = []
    numbers = table.numbers
    for line in numbers[numbers["p_holm"].notna() | numbers["delta_low"].notna()].itertuples():
        digits, sign = METRICS[line.metric].digits, mark(line, table.spec.alpha)
        row, column = map(names.of, table.rows.names[line.row]), _column(table, line.column, names)
        spans = [(line.delta_low, line.delta_high), (line.images_low, line.images_high)]
        rows.append([
            *map(Cell, [*row, column, METRICS[line.metric].header]),
            Cell(f"{signed(line.delta, digits)}{sign}", value=line.delta),
            *(Cell(_span(low, high, digits), value=None if pd.isna(low) else low) for low, high in spans),
            Cell("–") if pd.isna(line.p_holm) else Cell(f"{line.p_holm:.3g}", value=line.p_holm),
            Cell("these") if pd.isna(line.paired_images) else _count(line.paired_images),
            _count(line.paired_seeds),
        ])  # fmt: skip
    return Block("Differences to the reference", header, rows, len(table.rows.keys) + 2)


def _count(number: float) -> Cell:
    return Cell(f"{number:.0f}", value=number)


def _column(table: StudyTable, place: int, names: Names) -> str:
    return names.of(table.averages[place][0]) if place in table.averages else names.joined(table.columns.names[place])


def _span(low: float, high: float, digits: int) -> str:
    return "–" if pd.isna(low) else f"{signed(low, digits)} to {signed(high, digits)}"
