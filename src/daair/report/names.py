"""Headings of tables in place of names in configs, from conf/reference/names.yaml and `collate.table.names`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Names:
    """Headings.

    Attributes:
        texts: Heading by name of a benchmark, key, value or metric.
        latex: LaTeX by heading, where it is more than the escaped heading.
        degradations: Degradation by name of a benchmark.
    """

    texts: Mapping[str, str] = field(default_factory=dict)
    latex: Mapping[str, str] = field(default_factory=dict)
    degradations: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str) -> str:
        """Return the heading of a name, else of what stands before its remark in brackets, else the name."""
        own, bracket, remark = name.partition(" (")
        if name not in self.texts and bracket and own in self.texts:
            return f"{self.texts[own]}{bracket}{remark}"
        return self.texts.get(name, name)

    def joined(self, names: Iterable[str]) -> str:
        """Return the headings of several names in one text."""
        return " ".join(map(self.of, names))


def read_names(file: Path, own: Mapping[str, Any] | None = None) -> Names:
    """Return the headings of a file, with a table's `own` ones before them."""
    found = yaml.safe_load(file.read_text(encoding="utf-8"))
    benchmarks = dict(found["benchmarks"])
    for prefix, name in found["sets"].items():
        for end, made in found["made"].items():
            benchmarks[f"{prefix}_{end}"] = {**made, "name": f"{name} {made['name']}"}
    texts = {name: entry["name"] for name, entry in benchmarks.items()} | found["names"]
    latex: dict[str, str] = {}
    for name, heading in (own or {}).items():
        if isinstance(heading, Mapping):
            texts[name] = heading.get("text", name)
            if "latex" in heading:
                latex[texts[name]] = heading["latex"]
        else:
            texts[name] = heading
    return Names(texts, latex, {name: entry["degradation"] for name, entry in benchmarks.items()})
