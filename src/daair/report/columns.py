"""The columns of a study's table as readers see them: headings, and a cell for each row."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from daair.config.table_look import TableLook
from daair.metrics import METRICS
from daair.report.aggregate import COSTS, COSTS_COLUMN, LEFT_OUT
from daair.report.differences import mark
from daair.report.names import Names
from daair.report.published import PublishedRow
from daair.report.table import StudyTable
from daair.report.writers import Cell, joined

Row = int | PublishedRow
"""A row of a table: the position of a row of the study, or a published one."""

Ranks = Mapping[tuple[Row, int, str], int]
"""1 for the best and 2 for the second, by row, column and metric."""


@dataclass(frozen=True)
class Column:
    """A column: its heading, one over it and its neighbours, and its cells."""

    heading: str
    cell: Callable[[Row], Cell]
    over: str = ""


@dataclass(frozen=True)
class Maker:
    """Makes the columns of one table.

    Attributes:
        table: The study's table.
        look: How it shows its numbers.
        names: The headings.
        columns: Positions of the columns in their order, with the averages.
        ranks: Which values are best and second.
        lines: Lines of the table's numbers by row, column and metric.
    """

    table: StudyTable
    look: TableLook
    names: Names
    columns: Sequence[int]
    ranks: Ranks
    lines: Mapping[tuple[int, int, str], Any]

    def of_metrics(self, metrics: Sequence[str]) -> list[Column]:
        """Return the columns of metrics that share their cells, and of their differences to the reference."""
        made = [
            Column(self._heading(place)[1], self._joined(metrics, place), self._heading(place)[0])
            for place in self.columns
        ]
        return made + self._differences(metrics)

    def beside(self, metrics: Sequence[str]) -> list[Column]:
        """Return columns for each metric side by side below the heading that they share."""
        made = []
        for place in self.columns:
            over = " ".join(filter(None, self._heading(place)))
            made += [Column(self._metric(name), self._joined([name], place), over) for name in metrics]
        for name in metrics:
            made += [replace(one, over=METRICS[name].header) for one in self._differences([name])]
        return made

    def costs(self) -> list[Column]:
        """Return the columns of costs."""
        return [
            Column(self.names.of(COSTS[name].heading), self._cost(name)) for name in costs_of(self.table, self.look)
        ]

    def _metric(self, name: str) -> str:
        arrow = "↑" if METRICS[name].higher_is_better else "↓"
        return self.names.texts.get(name, f"{METRICS[name].header} {arrow}")

    def _heading(self, place: int) -> tuple[str, str]:
        """Return the heading over a column and its own."""
        if place < 0:
            return "", self.names.of(self.table.averages[place][0])
        *over, own = self.table.columns.names[place]
        return self.names.joined(over), self.names.of(own)

    def _joined(self, metrics: Sequence[str], place: int) -> Callable[[Row], Cell]:
        return lambda row: joined([self._value(row, place, name) for name in metrics])

    def _value(self, row: Row, place: int, metric: str) -> Cell:
        rank = self.ranks.get((row, place, metric), 0)
        if isinstance(row, PublishedRow):
            figure = row.figures.get((metric, place))
            value = None if figure is None else row.value(metric, place)
            cell = Cell("–") if figure is None else Cell(signed(figure), value=value)
        else:
            cell = self._measured(self.lines[row, place, metric])
        return replace(cell, bold=rank == 1, underlined=rank == 2)

    def _measured(self, line) -> Cell:
        digits = self.look.digits(line.metric)
        count = "" if line.seeds == line.expected else f" ({line.seeds}/{line.expected})"
        left_out = LEFT_OUT if line.not_finite else ""
        if pd.isna(line.mean):
            return Cell(f"–{left_out}{count}")
        marks = ("" if self.look.hides("stars") else mark(line, self.table.spec.alpha)) + left_out
        spread = f" ± {line.sd:.{digits}f}" if pd.notna(line.sd) and not self.look.hides("spread") else ""
        return Cell(signed(f"{line.mean:z.{digits}f}") + f"{marks}{spread}{count}", value=line.mean)

    def _differences(self, metrics: Sequence[str]) -> list[Column]:
        """Return the difference of the first average, or of the only column, to the reference."""
        averages = [place for place in self.columns if place < 0]
        places = averages or list(self.columns)
        if self.table.reference is None or self.look.hides("delta") or not (averages or len(places) == 1):
            return []
        heading = f"Δ {self._heading(averages[0])[1]}" if averages else "Δ"
        return [Column(heading, lambda row: joined([self._difference(row, places[0], name) for name in metrics]))]

    def _difference(self, row: Row, place: int, metric: str) -> Cell:
        if row == self.table.reference:
            return Cell("ref.")
        if isinstance(row, PublishedRow):
            value, mean = row.value(metric, place), self.lines[self.table.reference, place, metric].mean
            delta = float("nan") if value is None else value - mean
        else:
            delta = self.lines[row, place, metric].delta
        if pd.isna(delta):
            return Cell("" if isinstance(row, PublishedRow) else "–")
        return Cell(signed(f"{delta:+z.{self.look.digits(metric)}f}"), value=delta)

    def _cost(self, name: str) -> Callable[[Row], Cell]:
        def cell(row: Row) -> Cell:
            if isinstance(row, PublishedRow):
                return Cell(row.method.parameters if name == "parameters" else "")
            line = self.lines.get((row, COSTS_COLUMN, name))
            if line is None or pd.isna(line.mean):
                return Cell("–")
            return Cell(f"{line.mean / COSTS[name].divisor:.{COSTS[name].digits}f}", value=line.mean)

        return cell


def costs_of(table: StudyTable, look: TableLook) -> list[str]:
    """Return the costs that a table shows."""
    has = set(table.numbers["metric"])
    return [name for name in COSTS if name in has and not (look.hides(name) or look.hides("costs"))]


def lines_of(table: StudyTable) -> dict[tuple[int, int, str], Any]:
    """Return the lines of a table's numbers by row, column and metric."""
    return {(line.row, line.column, line.metric): line for line in table.numbers.itertuples()}


def signed(text: str) -> str:
    """Return the text of a number with a minus in place of a hyphen."""
    return text.replace("-", "−")
