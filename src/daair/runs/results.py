"""Reading results.csv of one or many runs: one row per image, with the columns of `daair.engine.evaluate`.

Files with the same header are parsed together, so that 10,000 of them take a second or two. Damaged files are left out,
and the reasons are returned.
"""

import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from daair.errors import UserError, one_line
from daair.metrics import derived, optional_columns, required_columns

KEYS = ("benchmark", "protocol", "image")
WHOLE = ("width", "height", "tile", "step")
"""Columns that hold whole numbers."""

ARITHMETIC = "arithmetic"
"""A column of text that files of earlier versions do not have."""


def parse(texts: Sequence[bytes | None]) -> tuple[pd.DataFrame, dict[int, str]]:
    """Return the rows of many files, and the reasons for which some files are left out.

    Args:
        texts: Contents of the results.csv of each run; None for a run without results.

    Returns:
        The rows, sorted by the column `run`, which holds the position of the text; the known columns come first, in the
        order of `_order`. Then the reasons, by the position of the text that is left out.
    """
    groups: dict[bytes, list[int]] = defaultdict(list)
    damaged: dict[int, str] = {}
    for i, text in enumerate(texts):
        if text is None:
            continue
        if reason := _torn(text):
            damaged[i] = reason
        else:
            groups[text[: text.index(b"\n") + 1]].append(i)
    tables = []
    for header, members in groups.items():
        tables += _parse_group(header, {i: texts[i] for i in members}, damaged)
    rows = _to_pandas(tables)
    for reason, wrong in _wrong_rows(rows):
        damaged |= dict.fromkeys(rows["run"][wrong].unique().tolist(), reason)
    return rows[~rows["run"].isin(list(damaged))].reset_index(drop=True), damaged


def load(file: Path) -> pd.DataFrame:
    """Return the rows of one results.csv unchanged.

    Raises:
        UserError: The file is incomplete, lacks columns, or is not a table.
    """
    text = file.read_bytes()
    wrong = _torn(text)
    try:
        rows = None if wrong else pd.read_csv(io.BytesIO(text), dtype=dict.fromkeys(KEYS, str))
    except ValueError as error:  # lines of unequal length, or bytes that are not text
        wrong = f"{file.name}: {one_line(error)}"
    if wrong:
        raise UserError(f"{file.parent}/{wrong}; remove it to measure again")
    return rows


def _torn(text: bytes) -> str | None:
    """Return the error in the end or the header of a file; None if there is none."""
    if not text.endswith(b"\n"):
        return "results.csv: ends within a line" if text.strip() else "results.csv: is empty"
    header = text[: text.index(b"\n")].decode(errors="replace").split(",")
    missing = [name for name in (*KEYS, "tile", *required_columns()) if name not in header]
    return f"results.csv: has no column {missing[0]}" if missing else None


def _order() -> list[str]:
    """Return the known columns in the order of the table."""
    measured = [*required_columns(), *(metric.name for metric in derived())]
    return ["run", *KEYS, "width", "height", "tile", *measured, "step", ARITHMETIC, *optional_columns()]


def _types() -> dict[str, pa.DataType]:
    """Return the types of the known columns."""
    numbers = [*WHOLE, *required_columns(), *optional_columns()]
    texts = pa.dictionary(pa.int32(), pa.string())
    return dict.fromkeys((*KEYS, ARITHMETIC), texts) | dict.fromkeys(numbers, pa.float64())


def _parse_group(header: bytes, texts: Mapping[int, bytes], damaged: dict[int, str]) -> list[pa.Table]:
    """Parse files with the same header together; if that fails, halve them until the faulty ones are in `damaged`."""
    counts = [text.count(b"\n") - 1 for text in texts.values()]
    try:
        table = _read(header + b"".join(text[len(header) :] for text in texts.values()))
        if table.num_rows != sum(counts):  # there are empty lines, or line breaks within quotes
            raise pa.ArrowInvalid("has lines that are no rows")
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        if len(texts) > 1:
            half = len(texts) // 2
            parts = list(texts.items())
            halves = (dict(parts[:half]), dict(parts[half:]))
            return [table for part in halves for table in _parse_group(header, part, damaged)]
        damaged[next(iter(texts))] = f"results.csv: {one_line(error)}"
        return []
    runs = np.repeat(list(texts), counts)
    for name in required_columns():
        empty = table[name].is_null().to_numpy()
        damaged.update(dict.fromkeys(runs[empty].tolist(), f"results.csv: has a row without {name}"))
    return [table.append_column("run", pa.array(runs, pa.int64()))]


def _read(text: bytes) -> pa.Table:
    # An empty cell was not measured; `nan` was, and is kept apart from it until `_parse_group` has looked.
    convert = csv.ConvertOptions(column_types=_types(), strings_can_be_null=False, null_values=[""])
    return csv.read_csv(io.BytesIO(text), convert_options=convert)


def _to_pandas(tables: list[pa.Table]) -> pd.DataFrame:
    if not tables:
        known = _types()
        empty = pa.schema(
            [("run", pa.int64()), *((name, known[name]) for name in (*KEYS, *WHOLE, *required_columns()))]
        )
        tables = [empty.empty_table()]
    rows = pa.concat_tables(tables, promote_options="default").to_pandas()
    rows = rows.sort_values("run", kind="stable", ignore_index=True)
    for metric in derived():
        rows[metric.name] = metric.derive(rows)
    for name in WHOLE:
        if name in rows and not rows[name].isna().any():
            rows[name] = rows[name].astype("int64")
    order = _order()
    return rows[[name for name in order if name in rows] + [name for name in rows if name not in order]]


def _wrong_rows(rows: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """Return the errors for which runs are left out, each with a mask of the rows that have it."""
    codes = pd.DataFrame({name: rows[name].cat.codes for name in KEYS} | {"run": rows["run"]})
    return [("results.csv: has an image twice in one benchmark and protocol", codes.duplicated())]
