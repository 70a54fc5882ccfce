"""The order, the groups and the ranks of a table's rows and columns."""

from collections.abc import Mapping, Sequence

import pandas as pd

from daair.config.table_look import TableLook
from daair.errors import UserError, suggestion
from daair.metrics import METRICS
from daair.report.aggregate import Axis, names_of, order_key, text
from daair.report.columns import Ranks, Row
from daair.report.contents import check_values
from daair.report.names import Names
from daair.report.published import PublishedRow
from daair.report.table import StudyTable

AS_PUBLISHED = "as published"


def ordered(axis: Axis, order: Mapping[str, Sequence]) -> list[int]:
    """Return the positions on an axis in the order of the values that are listed for its keys, then as they are.

    Raises:
        UserError: A value does not occur.
    """
    places = list(range(len(axis.names)))
    for k in reversed(range(len(axis.keys))):
        wanted = [text(value) for value in order.get(axis.keys[k], ())]
        check_values("collate.table.order", axis.keys[k], wanted, [name[k] for name in axis.names])
        at = {value: i for i, value in enumerate(wanted)}
        places.sort(key=lambda place, k=k, at=at: at.get(axis.names[place][k], len(at)))
    return places


def check_order(table: StudyTable, look: TableLook) -> None:
    """Raise a UserError if `order` names a key that is neither one of the rows, of the columns nor of the groups."""
    keys = [*table.rows.keys, *table.columns.keys, *([look.groups] if isinstance(look.groups, str) else [])]
    for key in look.order or ():
        if key not in keys:
            hint = suggestion(key, keys, f"; the table has {', '.join(keys)}")
            raise UserError(f"collate.table.order: {key} names neither rows, columns nor groups{hint}")


def grouped(
    table: StudyTable, rows: Sequence[int], published: Sequence[PublishedRow], look: TableLook, names: Names
) -> list[tuple[str, list[Row]]]:
    """Return the rows in groups with their titles; the study's own come first, with an empty title if not grouped.

    Raises:
        UserError: A key does not occur, has several values in a row, or no row has a name.
    """
    if look.groups is None:
        return [("", list(rows)), (AS_PUBLISHED, list(published))]
    if isinstance(look.groups, str):
        titles = _values(table, look.groups)
        values = sorted({titles[row] for row in rows}, key=order_key)
        wanted = [text(value) for value in (look.order or {}).get(look.groups, ())]
        check_values("collate.table.order", look.groups, wanted, values)
        values.sort(key=lambda value: wanted.index(value) if value in wanted else len(wanted))
        own = [(names.of(value), [row for row in rows if titles[row] == value]) for value in values]
        for one in published:
            _append(own, names.of(one.method.group or AS_PUBLISHED), one)
        return own
    known = _by_name(table, rows, published, names)
    left: list[Row] = [*rows, *published]
    groups = []
    for title, wanted in look.groups.items():
        groups.append((title, []))
        for name in wanted:
            if name not in known:
                hint = suggestion(name, known, f"; rows are {', '.join(known)}")
                raise UserError(f"collate.table.groups: {title}: no row is named {name}{hint}")
            groups[-1][1].extend(row for row in known[name] if row in left)
            left = [row for row in left if row not in known[name]]
    return [*groups, ("", left)]


def _append(groups: list[tuple[str, list[Row]]], title: str, row: Row) -> None:
    for name, rows in groups:
        if name == title:
            rows.append(row)
            return
    groups.append((title, [row]))


def _values(table: StudyTable, key: str) -> list[str]:
    """Return the value of a key in each row."""
    runs = table.runs
    if key not in runs:
        hint = suggestion(key, runs.columns, "; give a config key, a group, a column of runs.csv, or names of rows")
        raise UserError(f"collate.table.groups: no run has {key}{hint}")
    found: dict[int, set[str]] = {}
    for row, (value,) in zip(table.rows.positions(runs), names_of(runs, [key]), strict=True):
        found.setdefault(row, set()).add(value)
    for row, values in found.items():
        if len(values) > 1:
            name = " ".join(table.rows.names[int(row)])
            raise UserError(f"collate.table.groups: {key} differs within the row {name}: {', '.join(sorted(values))}")
    return [next(iter(found[row])) for row in range(len(table.rows.names))]


def _by_name(
    table: StudyTable, rows: Sequence[int], published: Sequence[PublishedRow], names: Names
) -> dict[str, list[Row]]:
    """Return the rows by what they can be called: their values, the headings of these, and names of methods."""
    known: dict[str, list[Row]] = {}
    for row in rows:
        values = table.rows.names[row]
        plain = values[0].partition(" (")[0] if row >= table.rows.trained else values[0]  # without whose weights it has
        for name in dict.fromkeys([" ".join(values), names.joined(values), *values, *map(names.of, values), plain]):
            known.setdefault(name, []).append(row)
    for one in published:
        for name in dict.fromkeys([one.method.name, names.of(one.method.name)]):
            known.setdefault(name, []).append(one)
    return known


def ranks(
    table: StudyTable,
    columns: Sequence[int],
    groups: Sequence[tuple[str, Sequence[Row]]],
    look: TableLook,
    lines: Mapping,
) -> Ranks:
    """Return the rank of each rounded value; equal ones share a rank, cells with missing seeds have none.

    A value that has no other to be compared with has none either.
    """
    if look.best == "none":
        return {}
    found = []
    for number, (_, rows) in enumerate(groups):
        group = number if look.best == "groups" else 0
        for row in rows:
            for metric in table.spec.metrics:
                for place in columns:
                    value = _ranked_value(table, row, place, metric, look, lines)
                    if value is not None:
                        sign = -1 if METRICS[metric].higher_is_better else 1
                        found.append((row, place, metric, group, sign * round(value, look.digits(metric))))
    frame = pd.DataFrame(found, columns=["row", "place", "metric", "group", "value"], dtype=object)
    values = frame["value"].astype(float).groupby([frame[name] for name in ("place", "metric", "group")])
    places = values.rank("dense").where(values.transform("size") > 1, 0)
    return {(row, place, metric): int(rank) for (row, place, metric, *_), rank in zip(found, places, strict=True)}


def _ranked_value(
    table: StudyTable, row: Row, place: int, metric: str, look: TableLook, lines: Mapping
) -> float | None:
    """Return a value that takes part; by default neither published ones nor those of networks only evaluated do."""
    all_rows = look.best in ("all", "groups")
    if isinstance(row, PublishedRow):
        return row.value(metric, place) if all_rows else None
    line = lines[row, place, metric]
    if not all_rows and row >= (table.rows.trained or len(table.rows.names)):
        return None
    return line.mean if line.seeds and line.seeds == line.expected and not line.not_finite else None
