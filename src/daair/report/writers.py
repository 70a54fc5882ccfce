"""Write a table as Markdown, HTML, or to the terminal; `daair.report.latex` writes LaTeX.

A `Block` holds texts with plain Unicode signs (± ↑ ↓ Δ – −); each writer escapes them for its format.
"""

import html
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd
from pandas.api.types import is_numeric_dtype
from rich.console import Console
from rich.markup import escape
from rich.table import Table

SHORT = 12
"""Rows up to which a folded table of a page is shown at once."""


@dataclass(frozen=True)
class Cell:
    """A cell: its text, whether it is the best (bold) or the second (underlined), and a number to sort by.

    A cell of several metrics has `parts`, which are shown with a slash between them.
    """

    text: str = ""
    bold: bool = False
    underlined: bool = False
    value: float | None = None
    parts: tuple["Cell", ...] = ()


@dataclass(frozen=True)
class Part:
    """Rows of a table below a title, which may be empty; `published` rows are not the study's own."""

    title: str
    rows: Sequence[Sequence[Cell]]
    published: bool = False


@dataclass(frozen=True)
class Block:
    """A table.

    Attributes:
        title: Title, may be empty.
        header: A heading per column.
        rows: Cells, one per column.
        names: Number of columns, from the left, that name the row; these are left-aligned.
        parts: Further rows, with a rule before each part.
        over: Headings over several columns, with the number of columns that each is over; empty if there are none.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 1
    parts: Sequence[Part] = ()
    over: Sequence[tuple[str, int]] = ()

    @property
    def whole_header(self) -> list[str]:
        """Return a heading per column that includes those over it."""
        over = [text for text, count in self.over for _ in range(count)] or [""] * len(self.header)
        return [" ".join(filter(None, pair)) for pair in zip(over, self.header, strict=True)]

    @property
    def sections(self) -> list[Part]:
        """Return all rows in parts."""
        return [*([Part("", self.rows)] if self.rows else []), *self.parts]


def show(block: Block, console: Console) -> None:
    """Print a block."""
    out = Table(title=escape(block.title) or None, title_justify="left")
    for i, name in enumerate(block.whole_header):
        out.add_column(escape(name), justify="left" if i < block.names else "right", no_wrap=i < block.names)
    for part in block.sections:
        if part.title:
            out.add_row(f"[italic]{escape(part.title)}[/]", style="dim" if part.published else None)
        for cells in part.rows:
            out.add_row(*(_rich(cell) for cell in cells), style="dim" if part.published else None)
        out.add_section()
    console.print(out)


def to_markdown(blocks: Iterable[Block], notes: Sequence[str] = (), title: str = "") -> str:
    """Return the blocks as Markdown; bold and underlined are `**` and `<u>`."""
    parts = [f"# {_md(title)}\n"] if title else []
    for block in blocks:
        lines = [f"**{_md(block.title)}**", ""] if block.title else []
        lines.append(_md_row(map(_md, block.whole_header)))
        lines.append("|" + "|".join(" --- " if i < block.names else " ---: " for i in range(len(block.header))) + "|")
        for part in block.sections:
            if part.title:
                lines.append(_md_row([f"*{_md(part.title)}*", *[""] * (len(block.header) - 1)]))
            italic = "*{}*" if part.published else "{}"
            lines += [_md_row([italic.format(_md_cell(cells[0])), *map(_md_cell, cells[1:])]) for cells in part.rows]
        parts.append("\n".join(lines) + "\n")
    if notes:
        parts.append("\n".join(_md(note) for note in notes) + "\n")
    return "\n".join(parts)


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV in which no text is a formula: spreadsheets run cells that begin with `= + - @`."""

    def cell(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value

    texts = {name: column.map(cell) for name, column in table.items() if not is_numeric_dtype(column)}
    return table.assign(**texts).rename(columns=cell).to_csv(index=False)


def to_html(blocks: Iterable[Block]) -> str:
    """Return a `<table class="results">` for each block; cells have `data-value` to sort by.

    Published rows are in a `<tbody class="published">`. The style is left to the page.
    """
    lines = []
    for block in blocks:
        lines.append('<table class="results">')
        if block.title:
            lines.append(f"<caption>{html.escape(block.title)}</caption>")
        lines.append("<thead>")
        if block.over:
            heads = (f'<th colspan="{count}">{html.escape(name)}</th>' for name, count in block.over)
            lines.append(f"<tr>{''.join(heads)}</tr>")
        kinds = [' class="name"' if i < block.names else "" for i in range(len(block.header))]
        heads = (f'<th scope="col"{k}>{html.escape(n)}</th>' for k, n in zip(kinds, block.header, strict=True))
        lines += [f"<tr>{''.join(heads)}</tr>", "</thead>"]
        for part in block.sections:
            lines.append('<tbody class="published">' if part.published else "<tbody>")
            if part.title:
                lines.append(f'<tr><th colspan="{len(block.header)}">{html.escape(part.title)}</th></tr>')
            lines += [*(_html_row(cells, block.names) for cells in part.rows), "</tbody>"]
        lines.append("</table>")
    return "\n".join(lines) + "\n"


def folded_html(block: Block) -> str:
    """Return the table of `to_html` below its title, which opens it; it is shown at once if it is short."""
    shown = " open" if len(block.rows) <= SHORT else ""
    title = html.escape(block.title)
    return f"<details{shown}><summary>{title}</summary>\n{to_html([replace(block, title='')])}</details>\n"


def joined(cells: Sequence[Cell]) -> Cell:
    """Return one cell for several metrics; a single cell stays as it is, and cells without numbers that are equal."""
    cells = tuple(cells)
    if len(cells) == 1 or all(cell.value is None and cell.text == cells[0].text for cell in cells):
        return cells[0]
    cells = tuple(cell if cell.text else Cell("–") for cell in cells)
    return Cell("/".join(cell.text for cell in cells), value=cells[0].value, parts=cells)


def of_parts(cell: Cell, write: Callable[[Cell], str]) -> str:
    """Return a cell's text, or those of its parts with a slash between them, each written by `write`."""
    return "/".join(map(write, cell.parts or (cell,)))


def _rich(cell: Cell) -> str:
    def write(one: Cell) -> str:
        style = "bold" if one.bold else "underline" if one.underlined else ""
        return f"[{style}]{escape(one.text)}[/]" if style else escape(one.text)

    return of_parts(cell, write)


def _md(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _md_cell(cell: Cell) -> str:
    def write(one: Cell) -> str:
        text = _md(one.text)
        return f"**{text}**" if one.bold else f"<u>{text}</u>" if one.underlined else text

    return of_parts(cell, write)


def _md_row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _html_cell(cell: Cell) -> str:
    text = html.escape(cell.text)
    return f"<b>{text}</b>" if cell.bold else f"<u>{text}</u>" if cell.underlined else text


def _html_row(cells: Sequence[Cell], names: int) -> str:
    out = []
    for i, cell in enumerate(cells):
        text = of_parts(cell, _html_cell).replace("± ", "±\u00a0")  # a narrow column breaks before the sign
        value = f' data-value="{cell.value:.8g}"' if cell.value is not None else ""
        out.append(f'<td class="name">{text}</td>' if i < names else f"<td{value}>{text}</td>")
    return f"<tr>{''.join(out)}</tr>"
