"""Write docs/api.md, the reference of the public functions and classes, from their docstrings: `make docs`."""

from __future__ import annotations

import inspect
import re
import sys
import textwrap
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np
import yaml

sys.path.insert(0, str(Path(__file__).parent))  # from where a test loads this file

from make_config import CONF, ROOT, cell, prose, words  # noqa: E402  (it makes a plain checkout importable)

import daair  # noqa: E402
from daair.components import locate  # noqa: E402
from daair.data import degradations  # noqa: E402
from daair.metrics import METRICS, PROTOCOLS, Metric, Protocol  # noqa: E402

INTRODUCTION = """# API reference

This page is made from the docstrings by `make docs`; do not edit it. Errors that a user can correct are of the class
`daair.errors.UserError`, whose text is one line. B is the number of images, H and W are height and width in pixels.
"""

ABOUT = {
    "Metrics": "`METRICS` in `daair.metrics` holds every metric, `PROTOCOLS` every way to compute PSNR and SSIM "
    "([protocols](protocols.md)): `PROTOCOLS['promptir'].psnr(image, reference)`.",
    "Degradations": "Functions of `daair.data.degradations`, called as `f(image, rng, *, parameters)`: `image` is "
    "uint8 RGB (H, W, 3) and stays as it is, `rng` a `numpy.random.Generator`; the result is like it. A pair is a "
    "range, from which each call draws. The defaults of training are in `conf/degradation` ([config](config.md)).",
    "Networks": "Classes of `daair.models`, the `_target_` of the options of `model`, which map images (B, 3, H, W) in "
    "[0, 1] to images. `daair.load` builds them with their weights.",
}

REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")


class Doc(NamedTuple):
    """A docstring: its text without sections, its arguments or attributes, and the text of its other sections."""

    text: str
    items: dict[str, str]
    sections: dict[str, str]


def read(docstring: str | None) -> Doc:
    """Return the parts of a docstring in Google's style."""
    parts = re.split(rf"^({'|'.join(SECTIONS)}):\n", inspect.cleandoc(docstring or ""), flags=re.MULTILINE)
    found = {name: textwrap.dedent(text).strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    items = found.pop("Args", "") or found.pop("Attributes", "")
    return Doc(parts[0].strip(), dict(_items(items)), found)


def _items(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of `name: text` and `one, another: text`, with indented lines that continue."""
    for item in re.split(r"\n(?=\S)", text) if text else ():
        names, _, told = item.partition(": ")
        for name in names.split(", "):
            yield name, " ".join(told.split())


def entry(title: str, thing: Callable[..., Any], hidden: Sequence[str] = ()) -> Iterator[str]:
    """Yield the lines of a function or class: heading, text, table of arguments, and what it returns and raises.

    Args:
        title: The heading.
        thing: The function or class.
        hidden: Arguments that are not shown.
    """
    doc = read(thing.__doc__)
    yield from ("", f"### {title}", "", _paragraphs(doc.text))
    shown = [
        one for one in inspect.signature(thing).parameters.values() if one.name not in hidden and one.kind not in REST
    ]
    if shown:
        yield from ("", "| argument | type | default | meaning |", "| --- | --- | --- | --- |")
    hints = _hints(thing)
    for one in shown:
        default = "" if one.default is inspect.Parameter.empty else f"`{cell(_default(one.default))}`"
        kind = hints.get(one.name) or cell(str(one.annotation) if isinstance(one.annotation, str) else "")
        yield f"| `{one.name}` | {kind} | {default} | {prose(doc.items.get(one.name, ''))} |"
    for name, told in doc.sections.items():
        yield from ("", f"**{name}:** {_paragraphs(' '.join(told.split()))}")


def _hints(thing: Callable[..., Any]) -> dict[str, str]:
    """Return the types of arguments in words; {} if they are only known to type checkers."""
    try:
        hints = get_type_hints(thing.__init__ if inspect.isclass(thing) else thing, include_extras=True)
    except NameError:
        return {}
    return {name: _typed(hint) for name, hint in hints.items()}


def _typed(hint: Any) -> str:
    """Return a type in Python's words, with its limits: `int >= 1 or None`."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_typed, args))
    if origin is np.ndarray or hint is np.ndarray:
        return "array"
    if origin is Callable:
        return "function"
    told = words(hint)
    for ours, python in (("true \\| false", "bool"), ("text", "str"), ("null", "None")):
        told = re.sub(rf"(?<!\w){re.escape(ours)}(?!\w)", python, told)
    return told or getattr(args[0] if origin is Annotated else hint, "__name__", "")


def _default(value: Any) -> str:
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__name__
    if not is_dataclass(value):
        return repr(value)
    given = [field.name for field in fields(value) if getattr(value, field.name) != field.default]
    return f"{type(value).__name__}({', '.join(f'{name}={getattr(value, name)!r}' for name in given)})"


def _paragraphs(text: str) -> str:
    """Return text whose lines are joined within each paragraph, as marks of HTML and Markdown are no marks here."""
    return "\n\n".join(prose(" ".join(part.split())) for part in text.split("\n\n"))


def functions() -> list[Callable[..., Any]]:
    """Return the degradations: what `daair.data.degradations` exports that takes an image and a generator."""
    exported = [getattr(degradations, name) for name in sorted(degradations.__all__)]
    return [
        one for one in exported if inspect.isfunction(one) and {"image", "rng"} <= {*inspect.signature(one).parameters}
    ]


def networks() -> list[type]:
    """Return the classes of ours that the options of `model` name, DaAIR first."""
    targets = [yaml.safe_load(path.read_text()).get("_target_", "") for path in sorted(CONF.glob("model/*.yaml"))]
    ours = [locate(target) for target in dict.fromkeys(targets) if target.startswith("daair.")]
    return sorted(ours, key=lambda one: not one.__name__.startswith("DaAIR"))


def metrics() -> Iterator[str]:
    """Yield the tables of metrics and protocols, and the two classes that describe them."""
    yield from ("", "| metric | heading | unit | better | always measured |", "| --- | --- | --- | --- | --- |")
    for one in METRICS.values():
        better = "higher" if one.higher_is_better else "lower"
        yield f"| `{one.name}` | {one.header} | {one.unit} | {better} | {'yes' if one.always else ''} |"
    yield from ("", "| protocol | of | crop | channel | rounded to 8 bits |", "| --- | --- | --- | --- | --- |")
    for one in PROTOCOLS.values():
        crop = f"to multiples of {one.multiple}" if one.multiple > 1 else "none"
        yield f"| `{one.name}` | {prose(one.source)} | {crop} | {one.channel} | {'yes' if one.quantise else ''} |"
    for owner in (Protocol, Metric):
        yield from entry(f"daair.metrics.{owner.__name__}", owner)
        for name, thing in vars(owner).items():
            if inspect.isfunction(thing) and not name.startswith("_"):
                yield from entry(f"daair.metrics.{owner.__name__}.{name}", thing, hidden=["self"])


def page() -> str:
    """Return the text of docs/api.md."""
    lines = [INTRODUCTION, "## Functions"]
    for name in (name for name in daair.__all__ if not name.startswith("_")):
        lines += entry(f"daair.{name}", getattr(daair, name))
    lines += ["", "## Metrics", "", ABOUT["Metrics"], *metrics(), "", "## Degradations", "", ABOUT["Degradations"]]
    for thing in functions():
        lines += entry(f"daair.data.degradations.{thing.__name__}", thing, hidden=["image", "rng"])
    lines += ["", "## Networks", "", ABOUT["Networks"]]
    for network in networks():
        lines += entry(f"{network.__module__}.{network.__name__}", network)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "api.md").write_text(page(), encoding="utf-8")
