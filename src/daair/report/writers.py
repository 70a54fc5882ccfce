"""Write a table as Markdown, LaTeX (booktabs), HTML, or to the terminal.

A `Block` holds texts with plain Unicode signs (± ↑ ↓ Δ –); each writer escapes them for its format.
"""

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape
from rich.table import Table

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "Δ": r"$\Delta$", "–": "--", "×": r"$\times$", "*": r"\textsuperscript{*}", "<": r"\textless{}",
    "†": r"\textsuperscript{\dag}", "‡": r"\textsuperscript{\ddag}",
    ">": r"\textgreater{}", "−": r"$-$", "σ": r"$\sigma$", '"': "''",
}  # fmt: skip

FITTED = r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%"


@dataclass(frozen=True)
class Cell:
    """A cell: its text, whether it is the best (bold) or the second (underlined), and a number to sort by."""

    text: str = ""
    bold: bool = False
    underlined: bool = False
    value: float | None = None


@dataclass(frozen=True)
class Block:
    """A table.

    Attributes:
        title: Title, may be empty.
        header: A heading per column.
        rows: Cells, one per column.
        names: Number of columns, from the left, that name the row; these are left-aligned.
        below: Further rows in a section below the others.
        below_title: Title of that section.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    names: int = 1
    below: Sequence[Sequence[Cell]] = field(default_factory=tuple)
    below_title: str = ""


def show(block: Block, console: Console) -> None:
    """Print a block."""
    out = Table(title=escape(block.title) or None, title_justify="left")
    for i, name in enumerate(block.header):
        out.add_column(escape(name), justify="left" if i < block.names else "right", no_wrap=i < block.names)
    for part in (block.rows, block.below):
        for cells in part:
            out.add_row(*(_rich(cell) for cell in cells), style="dim" if part is block.below else None)
        out.add_section()
    console.print(out)


def to_markdown(blocks: Iterable[Block], notes: Sequence[str] = (), title: str = "") -> str:
    """Return the blocks as Markdown; bold and underlined are `**` and `<u>`."""
    parts = [f"# {_md(title)}\n"] if title else []
    for block in blocks:
        lines = [f"**{_md(block.title)}**", ""] if block.title else []
        lines.append(_md_row(block.header))
        lines.append("|" + "|".join(" --- " if i < block.names else " ---: " for i in range(len(block.header))) + "|")
        lines += [_md_row(map(_md_cell, cells)) for cells in block.rows]
        if block.below:
            lines.append(_md_row([f"*{_md(block.below_title)}*", *[""] * (len(block.header) - 1)]))
            lines += [_md_row([f"*{_md_cell(cells[0])}*", *map(_md_cell, cells[1:])]) for cells in block.below]
        parts.append("\n".join(lines) + "\n")
    if notes:
        parts.append("\n".join(_md(note) for note in notes) + "\n")
    return "\n".join(parts)


def to_latex(blocks: Sequence[Block], notes: Sequence[str] = (), title: str = "", label: str = "study") -> str:
    """Return a `table*` for booktabs and graphicx: a `tabular` per block, shrunk to fit the page, and the notes."""
    lines = [r"% \usepackage{booktabs,graphicx}", r"\begin{table*}", r"\centering", r"\small"]
    if title:
        lines += [rf"\caption{{{_tex(title)}}}", rf"\label{{tab:{label}}}"]
    for block in blocks:
        columns = "l" * block.names + "r" * (len(block.header) - block.names)
        lines += [FITTED, rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}", r"\toprule"]
        if block.title:
            lines += [rf"\multicolumn{{{len(columns)}}}{{@{{}}l@{{}}}}{{{_tex(block.title)}}} \\", r"\midrule"]
        lines += [_tex_row(map(_tex, block.header)), r"\midrule"]
        lines += [_tex_row(map(_tex_cell, cells)) for cells in block.rows]
        if block.below:
            said = rf"\multicolumn{{{len(columns)}}}{{@{{}}l@{{}}}}{{\emph{{{_tex(block.below_title)}}}}} \\"
            lines += [r"\midrule", said, *(_tex_row(map(_tex_cell, cells)) for cells in block.below)]
        lines += [r"\bottomrule", r"\end{tabular}}", r"\par\medskip"]
    if notes:
        lines += [r"\begin{minipage}{\textwidth}\footnotesize", *(_tex(note) for note in notes), r"\end{minipage}"]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def to_html(blocks: Iterable[Block]) -> str:
    """Return a `<table class="results">` for each block; cells have `data-value` to sort by.

    The rows below are in a `<tbody class="published">`. The style is left to the page.
    """
    lines = []
    for block in blocks:
        lines.append('<table class="results">')
        if block.title:
            lines.append(f"<caption>{html.escape(block.title)}</caption>")
        heads = (f'<th scope="col">{html.escape(name)}</th>' for name in block.header)
        lines += ["<thead>", f"<tr>{''.join(heads)}</tr>", "</thead>"]
        lines += ["<tbody>", *(_html_row(cells, block.names) for cells in block.rows), "</tbody>"]
        if block.below:
            head = f'<tr><th colspan="{len(block.header)}">{html.escape(block.below_title)}</th></tr>'
            rows = (_html_row(cells, block.names) for cells in block.below)
            lines += ['<tbody class="published">', head, *rows, "</tbody>"]
        lines.append("</table>")
    return "\n".join(lines) + "\n"


def _rich(cell: Cell) -> str:
    style = "bold" if cell.bold else "underline" if cell.underlined else ""
    return f"[{style}]{escape(cell.text)}[/]" if style else escape(cell.text)


def _md(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _md_cell(cell: Cell) -> str:
    text = _md(cell.text)
    return f"**{text}**" if cell.bold else f"<u>{text}</u>" if cell.underlined else text


def _md_row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _tex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)


def _tex_cell(cell: Cell) -> str:
    text = _tex(cell.text)
    return rf"\textbf{{{text}}}" if cell.bold else rf"\underline{{{text}}}" if cell.underlined else text


def _tex_row(texts: Iterable[str]) -> str:
    return " & ".join(texts) + r" \\"


def _html_row(cells: Sequence[Cell], names: int) -> str:
    out = []
    for i, cell in enumerate(cells):
        text = html.escape(cell.text)
        text = f"<b>{text}</b>" if cell.bold else f"<u>{text}</u>" if cell.underlined else text
        value = f' data-value="{cell.value:.8g}"' if cell.value is not None else ""
        out.append(f'<td class="name">{text}</td>' if i < names else f"<td{value}>{text}</td>")
    return f"<tr>{''.join(out)}</tr>"
