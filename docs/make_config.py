"""Write docs/config.md, the reference of every config key: `make docs`.

Keys, defaults and explanations are read from the files of conf/ with their comments. Types and ranges come from
`daair.config.schema` for fixed keys, and from the signature of `_target_` for the arguments of a component of ours.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import annotated_types as at
import yaml
from pydantic import BaseModel

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
sys.path.insert(0, str(ROOT / "src"))

from daair.components import locate  # noqa: E402
from daair.config.schema import Config  # noqa: E402

KEYS = {
    "degradation": "mix.tasks.NAME.degrade",
    "hydra/launcher": "hydra.launcher",
    "hydra/sweeper": "hydra.sweeper",
    "mix/base": "mix",
    "mix/task": "mix.tasks.NAME",
}
"""Where the options of a group go in the config, if not into the key of its name."""

TARGETS = {"mix/base/task": "daair.data.tasks.MixTask", "mix/task": "daair.data.tasks.MixTask"}
"""What the keys of files without `_target_` are arguments of, by file or group."""

HIDDEN = {"_target_", "_partial_", "defaults", "hydra"}

INTRODUCTION = """# Config reference

This page is made from `conf/` by `make docs`; do not edit it. `python run.py --cfg job` prints the composed config of a
command. A key is set by `key=value`; an option of a group, a file of the folder `conf/GROUP`, by `GROUP=OPTION`.
`null` means that nothing is set. A node is a mapping with `_target_`, the path of a
class or function, and its arguments.
"""


@dataclass
class Key:
    """A key of a YAML file: its path in the file, default, comment, and the heading above it if there is one."""

    path: tuple[str, ...]
    value: str
    comment: str
    heading: str = ""


@dataclass
class File:
    """A file of conf/: the comment at its top, its `_target_`, and its keys."""

    path: Path
    about: str
    target: str
    text: str
    keys: list[Key] = field(default_factory=list)

    @property
    def is_global(self) -> bool:
        """Return whether its keys are root keys, as those of a study."""
        return "@package _global_" in self.text


def read(path: Path) -> File:
    """Return a file's keys with their comments."""
    text = path.read_text(encoding="utf-8")
    lines, root = text.splitlines(), yaml.compose(text)
    top = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    about = _joined(line for line in lines[:top] if not re.match(r"#( {2,}|$| @package)", line))
    about = re.sub(":$", ".", about)  # a command followed
    file = File(path, about, str((yaml.safe_load(text) or {}).get("_target_", "")), text)
    if isinstance(root, yaml.MappingNode):
        file.keys = list(_keys(root, (), lines, top))
    return file


def _keys(node: yaml.MappingNode, above: tuple[str, ...], lines: list[str], first: int) -> Iterator[Key]:
    """Yield the keys of a mapping, mappings in blocks before the keys within them."""
    for name, value in node.value:
        path = (*above, name.value)
        if name.value in HIDDEN:
            first = _end(value, lines)
            continue
        comment, heading = _comments(name, value, lines, first)
        block = isinstance(value, yaml.MappingNode) and not value.flow_style
        yield Key(path, "" if block else _plain(value), comment, heading)
        if block:
            yield from _keys(value, path, lines, name.start_mark.line + 1)
        first = _end(value, lines)


def _end(value: yaml.Node, lines: list[str]) -> int:
    """Return the number of the line after a value and the comments that continue beside it."""
    last = value.end_mark.line - (value.end_mark.column == 0 and not getattr(value, "flow_style", True))
    row = max(value.start_mark.line, last) + 1
    while row < len(lines) and re.match(r" {12,}#", lines[row]):
        row += 1
    return row


def _comments(name: yaml.Node, value: yaml.Node, lines: list[str], first: int) -> tuple[str, str]:
    """Return the comment of a key, beside it or above it, and a heading: a comment above it that ends with a colon."""
    row, column = name.start_mark.line, name.start_mark.column
    above, i = [], row - 1
    while i >= first and re.match(rf" {{{column}}}#", lines[i]):
        above.insert(0, lines[i])
        i -= 1
    beside = re.findall(r"(?:^|\s)#\s(.*)", _after(value, lines, row))[:1]
    while beside and (more := re.match(r"( {8,})# (.*)", lines[row + 1] if row + 1 < len(lines) else "")):
        beside.append(more[2])
        row += 1
    heading, told = "", _joined(above)
    if told.endswith(":"):
        heading, told = told.removesuffix(":"), ""
    return " ".join(filter(None, [told, *beside])), heading


def _after(value: yaml.Node, lines: list[str], row: int) -> str:
    """Return what stands behind a value in the line of its key."""
    scalar = isinstance(value, yaml.ScalarNode) or value.flow_style
    return (
        lines[row][value.end_mark.column :] if scalar and value.end_mark.line == row else lines[row].partition(":")[2]
    )


def _joined(lines: Any) -> str:
    return " ".join(line.strip().lstrip("#").strip() for line in lines).strip()


def _plain(node: yaml.Node) -> str:
    """Return a value as it can be written on a command line."""
    value = yaml.safe_load(yaml.serialize(node))
    if isinstance(node, yaml.ScalarNode):
        return node.value if value is not None else "null"
    return json.dumps(value, ensure_ascii=False)


def words(hint: Any) -> str:
    """Return a type in words: `int >= 1 or null`; empty if it says nothing to a user."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _with_limits(words(args[0]), args[1:])
    if origin in (Union, types.UnionType):
        return " or ".join(
            dict.fromkeys(words(arg) or "node" for arg in sorted(args, key=lambda arg: arg is type(None)))
        )
    if origin is Literal:
        return " \\| ".join(str(arg) for arg in args)
    if hint is type(None):
        return "null"
    if hint in (int, float, bool):
        return {int: "int", float: "float", bool: "true \\| false"}[hint]
    if hint is str:
        return "text"
    kind = origin or hint
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "mapping"
    if isinstance(kind, type) and issubclass(kind, list | tuple) or getattr(kind, "__name__", "") == "Sequence":
        items = [words(arg) for arg in args if arg is not Ellipsis]
        if len(items) > 1 and len(set(items)) == 1:
            return f"list of {len(items)} x {items[0]}"
        return f"list of {items[0]}" if items and items[0] else "list"
    return ""


def _with_limits(word: str, limits: Any) -> str:
    signs = {at.Ge: ">=", at.Gt: ">", at.Le: "<=", at.Lt: "<"}
    told = []
    for limit in limits:
        for one in limit if isinstance(limit, at.GroupedMetadata) else [limit]:
            if type(one) in signs:
                told.append(f"{signs[type(one)]} {getattr(one, type(one).__name__.lower()):.10g}")
            elif isinstance(one, at.MultipleOf):
                told.append(f"multiple of {one.multiple_of}")
    return f"{word} {', '.join(told)}".strip()


def of_schema(path: tuple[str, ...], model: type[BaseModel] = Config) -> str:
    """Return the type of a fixed key in words; empty for a key of a component."""
    info = model.model_fields.get(path[0])
    if info is None:
        return ""
    if len(path) > 1:
        inner = info.annotation
        return of_schema(path[1:], inner) if isinstance(inner, type) and issubclass(inner, BaseModel) else ""
    if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
        return ""
    return words(Annotated[(info.annotation, *info.metadata)] if info.metadata else info.annotation)


def of_target(target: str, name: str) -> str:
    """Return the type of a component's argument in words; empty for a class that is not ours."""
    if not target.startswith("daair."):
        return ""
    found = locate(target)
    hints = get_type_hints(found.__init__ if inspect.isclass(found) else found, include_extras=True)
    return words(hints[name]) if name in hints else ""


def target_of(file: File, path: tuple[str, ...] = ()) -> str:
    """Return the class or function that the keys below `path` in a file are arguments of; empty if none is known.

    A file that the file builds on may name it.
    """
    if path:
        node = yaml.safe_load(file.text)
        for name in path:
            node = node.get(name) or {}
        return node.get("_target_", "")
    for place in (file.path.with_suffix("").relative_to(CONF), file.path.parent.relative_to(CONF)):
        if str(place) in TARGETS:
            return TARGETS[str(place)]
    if file.target:
        return file.target
    for item in (yaml.safe_load(file.text) or {}).get("defaults", ()):
        # Another file of the group (`- ema`), or one that is put in its place (`/mix/base/task@_here_`).
        name = item if isinstance(item, str) else ""
        folder = CONF if name.startswith("/") else file.path.parent
        below = folder / f"{name.partition('@')[0].lstrip('/')}.yaml"
        if name != "_self_" and below.is_file():
            return target_of(read(below))
    return ""


def groups() -> Iterator[tuple[str, list[File]]]:
    """Yield each group of options with its files."""
    folders = {path.parent for path in CONF.rglob("*.yaml")} | {CONF / "experiment"}
    for folder in sorted(folders - {CONF, CONF / "hydra" / "help", CONF / "reference"}):
        options = [path for path in sorted(folder.glob("*.yaml")) if "." not in path.stem]  # else a file of tables
        yield str(folder.relative_to(CONF)), [read(path) for path in options]


def cell(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def prose(text: str) -> str:
    """Return text for a cell whose `<` and `*` are no marks of HTML or Markdown."""
    parts = re.split(r"(`[^`]*`)", cell(text))  # every second one is code, where they are none
    return "".join(part if i % 2 else part.replace("<", "&lt;").replace("*", "\\*") for i, part in enumerate(parts))


def kind(file: File, path: tuple[str, ...], place: tuple[str, ...]) -> str:
    """Return the type in words of the key at `path` in a file that goes to `place` in the config."""
    return of_schema((*place, *path)) or of_target(target_of(file, path[:-1]), path[-1])


def table(file: File, prefix: str = "") -> Iterator[str]:
    """Yield the lines of a table of a file's keys; a section is shown if it has a comment."""
    place = tuple(filter(None, prefix.split(".")))
    yield from ("| key | type | default | meaning |", "| --- | --- | --- | --- |")
    for key in file.keys:
        if key.heading:
            yield f"| | | | *{prose(key.heading)}* |"
        name = ".".join((*place, *key.path))
        default = f"`{cell(key.value)}`" if key.value else ""
        if key.value or key.comment:
            yield f"| `{name}` | {kind(file, key.path, place)} | {default} | {prose(key.comment)} |"


def assignments(file: File) -> Iterator[str]:
    """Yield what a file sets, as `key=value`, with the values of one-line mappings one by one."""
    for key in file.keys:
        if key.value.startswith("{") and key.value != "{}":
            for path, value in _flat(json.loads(key.value), key.path):
                yield f"{'.'.join(path)}={value}"
        elif key.value:
            yield f"{'.'.join(key.path)}={key.value}"


def _flat(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, (*path, name))
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)


def page() -> str:
    """Return the text of docs/config.md."""
    lines = [INTRODUCTION, "## Root keys", ""]
    lines += table(read(CONF / "config.yaml"))
    for group, files in groups():
        lines += ["", f"## {group}", ""]
        described = [file for file in files if any(key.comment for key in file.keys) and not file.is_global]
        lines += ["| option | meaning | sets |", "| --- | --- | --- |"]
        for file in files:
            told = file in described or group == "experiment"
            values = "" if told else ", ".join(f"`{cell(one)}`" for one in assignments(file))
            lines.append(f"| `{file.path.stem}` | {prose(file.about)} | {values} |")
        prefix = KEYS.get(group, group)
        for file in described:
            place = "mix.tasks.NAME" if (group, file.path.stem) == ("mix/base", "task") else prefix
            lines += ["", f"### {group}={file.path.stem}", "", *table(file, place)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "config.md").write_text(page(), encoding="utf-8")
