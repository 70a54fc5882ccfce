"""Columns of a frame: of the narrowest type that holds all values, from lists of values or from configs in pieces.

The configs of 10,000 runs have two million values, but few distinct pieces (`daair.report.flat`). So a column is made
from the values of distinct pieces and then spread over the runs, which takes a tenth of the time.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from daair.report.flat import Piece
from daair.runs import store


def column(values: Sequence[Any]) -> pd.Series:
    """Return a column of the narrowest type that holds all values; None is an empty cell, texts are categories."""
    kinds = set(map(type, values))
    empty = type(None) in kinds
    kinds.discard(type(None))
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean" if empty else bool)
    if kinds == {int} and not empty:
        return pd.Series(values, dtype="int64")
    if kinds and kinds <= {int, float}:
        return pd.Series([np.nan if value is None else value for value in values], dtype="float64")
    texts = values if kinds <= {str} else [value if value is None else str(value) for value in values]
    known = sorted(set(texts) - {None}, key=store.natural)
    return pd.Series(pd.Categorical(texts, categories=pd.Index(known, dtype="str")))


def config_columns(configs: Sequence[tuple[Piece, ...]]) -> dict[str, pd.Series]:
    """Return a column for every key of any config; group choices first, by the group's name.

    Args:
        configs: in pieces, one after the other; a key is in one piece of a config at most.
    """
    rows: dict[int, list[int]] = defaultdict(list)  # of the configs that have a piece, by its identity
    for row, pieces in enumerate(configs):
        for piece in pieces:
            rows[id(piece)].append(row)
    distinct = {id(piece): piece for pieces in configs for piece in pieces}
    values: dict[str, list[Any]] = defaultdict(list)
    places: dict[str, np.ndarray] = {}  # of each config's value in `values`; -1 where it has none
    for identity, piece in distinct.items():
        owners = np.array(rows[identity])
        for key, value in piece:
            if key not in places:
                places[key] = np.full(len(configs), -1)
            places[key][owners] = len(values[key])
            values[key].append(value)
    return {name: _spread(values[key], places[key]) for name, key in _named(values).items()}


def _spread(values: list[Any], places: np.ndarray) -> pd.Series:
    """Return a column of `values[place]` for each place; -1 is an empty cell."""
    if (places < 0).any():
        values = [*values, None]  # where -1 finds it
    return column(values).take(places).reset_index(drop=True)


def _named(keys: Iterable[str]) -> dict[str, str]:
    """Names of columns, and the keys of configs that they are of; an empty group's own key gives way to its choice."""
    keys = list(keys)
    choices = [key for key in keys if key.startswith("choices.") and "@" not in key and key != "choices.experiment"]
    named = {key.removeprefix("choices."): key for key in choices}
    return named | {key: key for key in keys if not key.startswith("choices.") and key not in named}
