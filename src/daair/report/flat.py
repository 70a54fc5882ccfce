"""Configs as flat tables: dotted keys and plain values, quickly for thousands of frozen configs.

The runs of a study share nearly all lines of their configs. So a frozen config is cut into its keys, and each distinct
piece is parsed once: 10,000 configs cost about what a few hundred pieces cost, where a YAML parser, even libyaml's,
needs 7 ms for each whole file.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Piece = tuple[tuple[str, Any], ...]
"""Dotted keys and values that stand together in a config."""

AS_TEXT = ("benchmarks", "collate.reference")
"""Mappings whose keys are names of the user's; they stay one value, as JSON."""

REPEATED = ("model.experts.", "model.router.", "model.control.")
"""A frozen config has these parts of the network a second time, under keys that nobody sets."""

_KEY = re.compile(r"^[A-Za-z_][\w.@/-]*:(?= |$)", re.MULTILINE)
_NESTED = re.compile(r"([A-Za-z_][\w.@/-]*):\n((?:  .*\n|\n)+)")
_REFERENCE = re.compile(r"[:-] [&*]")


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"experts": {"rank": 4}}` as `{"experts.rank": 4}`; lists, empty mappings and `AS_TEXT` become JSON texts."""
    return dict(_flat(config, prefix))


def read_flat(text: str) -> tuple[Piece, ...]:
    """Return what `flatten` makes of a frozen config, without `REPEATED`, in pieces; equal texts give the same object.

    Raises:
        ValueError: `text` is not the YAML of a mapping.
    """
    try:
        if _shares(text):  # an anchor may be needed in another piece; our own files have none
            return (_whole(text),)
        text = text if text.endswith("\n") else text + "\n"
        return tuple(_items(piece, "") for piece in _cut(text) or [text])
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _shares(text: str) -> bool:
    """Whether YAML text has anchors; most has not even the signs for it, which is found out ten times as fast."""
    return ("&" in text or "*" in text) and _REFERENCE.search(text) is not None


def _cut(text: str) -> list[str]:
    """Return the text of each key of a mapping; nothing if it begins with something else."""
    starts = [match.start() for match in _KEY.finditer(text)]
    if not starts or text[: starts[0]].strip():
        return []
    return [text[a:b] for a, b in zip(starts, [*starts[1:], len(text)], strict=True)]


@lru_cache(maxsize=1 << 16)
def _items(text: str, prefix: str) -> Piece:
    """Return dotted keys and values of YAML text; each piece of it is looked up among those seen before."""
    pieces = _cut(text)
    if not pieces:
        return _whole(text, prefix)
    if len(pieces) > 1:
        return tuple(pair for piece in pieces for pair in _items(piece, prefix))
    nested = _NESTED.fullmatch(text)
    if nested is None or prefix + nested[1] in AS_TEXT:
        return _whole(text, prefix)
    if f"{prefix}{nested[1]}." in REPEATED:
        return ()
    return _items(re.sub(r"^  ", "", nested[2], flags=re.MULTILINE), f"{prefix}{nested[1]}.")


def _whole(text: str, prefix: str = "") -> Piece:
    config = yaml.load(text, Loader)
    if not isinstance(config, dict):
        raise ValueError("not a mapping")
    return tuple(pair for pair in _flat(config, prefix) if not pair[0].startswith(REPEATED))


def _flat(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and name not in AS_TEXT:
            yield from _flat(value, f"{name}.")
        elif isinstance(value, Mapping | list | tuple):
            yield name, json.dumps(value)
        else:
            yield name, value
