"""Configs of many runs as columns of dotted keys, read quickly for thousands of frozen configs.

The runs of a study share nearly all lines of their configs. Each frozen config is therefore cut into its keys, and each
distinct piece is parsed and put into columns only once. 10,000 configs then cost about as much as a few hundred pieces;
a YAML parser, even libyaml, needs 7 ms for each whole file.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import yaml

from daair.config.identity import ADDED
from daair.errors import one_line
from daair.files import natural_key
from daair.report.flat import AS_TEXT, flatten

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Piece = tuple[tuple[str, Any], ...]
"""Dotted keys and values that stand together in a config."""

_KEY = re.compile(r"^[A-Za-z_][\w.@/-]*:(?= |$)", re.MULTILINE)
_NESTED = re.compile(r"([A-Za-z_][\w.@/-]*):\n((?:  .*\n|\n)+)")
_ANCHOR = re.compile(r"[:-] [&*]")


def read_config(text: str) -> tuple[Piece, ...]:
    """Return the dotted keys and values of a frozen config in pieces; equal texts give the same objects.

    Parts of the network, such as `model.router`, are left out if the config also has them at its root (`router`).

    Raises:
        ValueError: `text` is not the YAML of a mapping.
    """
    try:
        # An anchor may be used in another piece; our own files have none. The test for the characters saves time.
        if ("&" in text or "*" in text) and _ANCHOR.search(text):
            return (_parse(text, "", frozenset()),)
        text = text if text.endswith("\n") else text + "\n"
        pieces = _cut(text) or [text]
        roots = frozenset(piece.partition(":")[0] for piece in pieces)
        return tuple(_read_piece(piece, "", roots) for piece in pieces)
    except yaml.YAMLError as error:
        raise ValueError(one_line(error)) from None


def _cut(text: str) -> list[str]:
    """Return the text of each key of a mapping; [] if the text begins with anything but a key."""
    starts = [match.start() for match in _KEY.finditer(text)]
    if not starts or text[: starts[0]].strip():
        return []
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


@lru_cache(maxsize=1 << 16)
def _read_piece(text: str, prefix: str, roots: frozenset[str]) -> Piece:
    """Return the dotted keys and values of YAML text; results are cached for each distinct piece."""
    pieces = _cut(text)
    if not pieces:
        return _parse(text, prefix, roots)
    if len(pieces) > 1:
        return tuple(pair for piece in pieces for pair in _read_piece(piece, prefix, roots))
    nested = _NESTED.fullmatch(text)
    if nested is None or prefix + nested[1] in AS_TEXT:
        return _parse(text, prefix, roots)
    return _read_piece(re.sub(r"^  ", "", nested[2], flags=re.MULTILINE), f"{prefix}{nested[1]}.", roots)


def _parse(text: str, prefix: str, roots: frozenset[str]) -> Piece:
    config = yaml.load(text, Loader)
    if not isinstance(config, dict):
        raise ValueError("not a mapping")
    roots = roots if prefix else frozenset(config) | roots
    return tuple(pair for pair in flatten(config, prefix) if not _is_repeated(pair[0], roots))


def _is_repeated(key: str, roots: frozenset[str]) -> bool:
    """Return whether a key below `model` belongs to a part that is also a root key of the config."""
    parent, _, below = key.partition(".")
    part, _, leaf = below.partition(".")
    return parent == "model" and bool(leaf) and part in roots


def column(values: Sequence[Any]) -> pd.Series:
    """Return a column of the narrowest type for all values; None is an empty cell, texts become categories."""
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
    known = sorted(set(texts) - {None}, key=natural_key)
    return pd.Series(pd.Categorical(texts, categories=pd.Index(known, dtype="str")))


def config_columns(configs: Sequence[tuple[Piece, ...]]) -> dict[str, pd.Series]:
    """Return a column for every key of any config; group choices come first and have the group's name.

    Args:
        configs: The configs as pieces; a key is in at most one piece of each config.
    """
    rows: dict[int, list[int]] = defaultdict(list)  # the configs that have a piece, by the piece's identity
    for row, pieces in enumerate(configs):
        for piece in pieces:
            rows[id(piece)].append(row)
    distinct = {id(piece): piece for pieces in configs for piece in pieces}
    values: dict[str, list[Any]] = defaultdict(list)
    places: dict[str, np.ndarray] = {}  # the position in `values` for each config; -1 if it lacks the key
    for identity, piece in distinct.items():
        owners = np.array(rows[identity])
        for key, value in piece:
            if key not in places:
                places[key] = np.full(len(configs), -1)
            places[key][owners] = len(values[key])
            values[key].append(value)
    return {name: _spread(values[key], places[key]) for name, key in _column_names(values).items()}


def with_added(columns: dict[str, pd.Series]) -> dict[str, pd.Series]:
    """Return the columns of configs with what runs of earlier versions did not say, as `identity.ADDED` knows it.

    Such runs have the id of later ones at this value, and so must not stand in another row of a table.
    """
    filled = dict(columns)
    for part in [name.removesuffix("_target_") for name in columns if name.endswith("_target_")]:
        classes = columns[f"{part}_target_"].astype(object)
        for target in ADDED.keys() & set(classes):
            for key, value in flatten(ADDED[target]):
                name = key if f"{part}{key}" not in columns else f"{part}{key}"  # parts of a network are root keys
                if name in columns and value is not None:
                    known = filled[name].astype(object).where(filled[name].notna(), None)
                    filled[name] = column(known.mask((classes == target) & filled[name].isna(), value).tolist())
    return filled


def _spread(values: list[Any], places: np.ndarray) -> pd.Series:
    """Return a column of `values[place]` for each place; -1 is an empty cell."""
    if (places < 0).any():
        values = [*values, None]  # place -1 takes this last value
    return column(values).take(places).reset_index(drop=True)


def _column_names(keys: Iterable[str]) -> dict[str, str]:
    """Return the config key of each column; a group's column holds its choice, even if the group itself is empty."""
    keys = list(keys)
    choices = [key for key in keys if key.startswith("choices.") and "@" not in key and key != "choices.experiment"]
    columns = {key.removeprefix("choices."): key for key in choices}
    return columns | {key: key for key in keys if not key.startswith("choices.") and key not in columns}
