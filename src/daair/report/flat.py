"""Name the keys of a config by dots; without pandas, which takes longer to import than a look at the folders."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

AS_TEXT = ("benchmarks", "collate.reference")
"""Mappings whose keys the user chooses; each stays one value, as JSON."""


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `("experts.rank", 4)` of `{"experts": {"rank": 4}}`; lists, empty mappings and `AS_TEXT` as JSON texts."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value and name not in AS_TEXT:
            yield from flatten(value, f"{name}.")
        elif isinstance(value, Mapping | list | tuple):
            yield name, json.dumps(value)
        else:
            yield name, value
