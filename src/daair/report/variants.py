"""What tells the variants of a study apart, and what to call them.

`runs` is everywhere a row per run with its facts and config keys as columns, see `daair.report.frame`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import pandas as pd


def differing(runs: pd.DataFrame, keys: Iterable[str]) -> list[str]:
    """Return those of `keys` that all seeds of a variant share, and not all variants.

    A group whose option differs stands for the keys below it: `router` for `router.noise`.
    """
    texts = runs[list(keys)].astype("string").fillna("null")
    texts = texts.loc[:, texts.nunique() > 1]
    groups = texts.groupby(runs["variant"].astype(str), sort=False)
    constant = groups.nunique().max() == 1
    found = [name for name in texts if constant[name]]
    return [name for name in found if "." not in name or name.partition(".")[0] not in found]


def names(runs: pd.DataFrame, rows: Sequence[str]) -> dict[str, str]:
    """Return what to call each variant in a figure, in the order of `runs`: `count 5, rank 8`.

    Args:
        rows: the columns that tell the variants apart, such as the table's rows; where they do not suffice, the id is
            added, and with none of them a variant is called by its label.
    """
    first = runs.drop_duplicates("variant")
    short = _short(rows)
    called = {}
    for row in first.to_dict("records"):
        parts = [_named(short[name], row[name]) for name in rows if not pd.isna(row[name])]
        called[str(row["variant"])] = ", ".join(parts) or str(row["label"])
    given = Counter(called.values())
    ids = dict(zip(first["variant"].astype(str), first["id"].astype(str), strict=True))
    return {v: name if given[name] == 1 else f"{name} ({ids[v]})" for v, name in called.items()}


def _named(key: str, value: object) -> str:
    """`rank 8`, but `top1` rather than `router top1`: texts speak for themselves."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return f"{key} {str(value).lower()}"
    return f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"


def _short(keys: Sequence[str]) -> dict[str, str]:
    """Return the last parts of dotted keys, as many as it takes to tell them apart."""
    short = {key: key.rpartition(".")[2] for key in keys}
    ends = list(short.values())
    return {key: end if ends.count(end) == 1 else key for key, end in short.items()}
