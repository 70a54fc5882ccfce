"""Write a table as LaTeX, for the packages booktabs and graphicx, and siunitx if it is asked for."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from daair.report.writers import Block, Cell, of_parts

SIGNS = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"$\mathdollar$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "↑": r"$\uparrow$", "↓": r"$\downarrow$",
    "→": r"$\to$", "–": "--", "—": "---", "×": r"$\times$", "·": r"$\cdot$", "*": r"\textsuperscript{*}", "−": r"$-$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$",
    "°": r"$^\circ$", "²": r"$^2$", "³": r"$^3$", "∞": r"$\infty$",
    "†": r"$^\dagger$", "‡": r"$^\ddagger$", "§": r"$^\S$", "“": "``",
    "”": "''", '"': "''", "’": "'", "…": r"\dots{}", "\u00a0": "~", "\u202f": r"\,",
}  # fmt: skip
"""LaTeX by sign; `_sign` adds letters with accents and Greek ones."""

GREEK = {
    "SMALL": "ALPHA BETA GAMMA DELTA EPSILON ZETA ETA THETA IOTA KAPPA MU NU XI PI RHO SIGMA TAU PHI CHI PSI OMEGA",
    "CAPITAL": "GAMMA DELTA THETA XI PI SIGMA PHI PSI OMEGA",
}
"""Greek letters that LaTeX has commands for."""

ACCENTS = "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327"
"""Combining accents that pdfLaTeX knows on letters."""

NUMBER = re.compile(r"([+−]?\d+(?:\.\d+)?)([*†‡]*)( ± \d+(?:\.\d+)?)?")
"""A number, its marks and its deviation."""
FITTED = r"\resizebox{\ifdim\width>%s%s\else\width\fi}{!}{%%"


@dataclass(frozen=True)
class Style:
    """How a table is written in LaTeX; see `daair.config.table_look.TableLook`.

    Attributes:
        environment: `table*`, `table` or `tabular`.
        caption: Caption; may be empty.
        label: Label after `tab:`.
        raw: LaTeX by text, for texts that are not to be escaped.
        siunitx: Whether numbers are written as `\num{...}`.
    """

    environment: str = "table*"
    caption: str = ""
    label: str = "study"
    raw: Mapping[str, str] = field(default_factory=dict)
    siunitx: bool = False

    def text(self, text: str) -> str:
        """Return a text in LaTeX; `σ=25` becomes a formula, and figures stand by ± and slashes without wide spaces."""
        if text in self.raw:
            return self.raw[text]
        pieces = re.split(r"(σ=\d+|(?<=[\d*†‡]) ± (?=\d))", text)
        return "".join(_piece(piece) for piece in pieces)

    def cell(self, cell: Cell) -> str:
        """Return a cell in LaTeX."""
        return of_parts(cell, self._one)

    def row(self, cells: Sequence[Cell]) -> str:
        """Return a row; a bracket at its beginning is kept from becoming an argument of the row before."""
        line = " & ".join(map(self.cell, cells))
        return ("{}" if line.startswith("[") else "") + line + r" \\"

    def _one(self, cell: Cell) -> str:
        text = self._number(cell.text) if self.siunitx and cell.value is not None else self.text(cell.text)
        return rf"\textbf{{{text}}}" if cell.bold else rf"\underline{{{text}}}" if cell.underlined else text

    def _number(self, text: str) -> str:
        found = NUMBER.match(text)
        if not found:
            return self.text(text)
        figure = (found[1] + (found[3] or "")).replace("−", "-").replace(" ± ", " +- ")
        return rf"\num{{{figure}}}{self.text(found[2] + text[found.end() :])}"


def to_latex(blocks: Sequence[Block], notes: Sequence[str] = (), style: Style = Style()) -> str:  # noqa: B008 - immutable
    """Return a `tabular` per block, in an environment with caption, label and notes unless it is `tabular`."""
    packages = "booktabs,graphicx" + (",siunitx" if style.siunitx else "")
    lines = [rf"% \usepackage{{{packages}}}"]
    if style.siunitx:
        lines.append(r"% \sisetup{separate-uncertainty,detect-weight,mode=math,retain-explicit-plus}")
    bare = style.environment == "tabular"
    lines += [r"\noindent"] if bare and len(blocks) > 1 else []
    if not bare:
        lines += [rf"\begin{{{style.environment}}}", r"\centering", r"\small"]
        if style.caption:
            lines += [rf"\caption{{{style.text(style.caption)}}}", rf"\label{{tab:{style.label}}}"]
    width = r"\textwidth" if style.environment == "table*" else r"\linewidth"
    for i, block in enumerate(blocks):
        tabular = _tabular(block, style)
        lines += [r"\par\medskip\noindent"] if bare and i else []
        lines += tabular if bare else [FITTED % (width, width), *tabular[:-1], tabular[-1] + "}", r"\par\medskip"]
    if bare:
        return "\n".join(lines) + "\n"
    if notes:
        lines += [rf"\begin{{minipage}}{{{width}}}\footnotesize", *map(style.text, notes), r"\end{minipage}"]
    return "\n".join([*lines, rf"\end{{{style.environment}}}"]) + "\n"


def _tabular(block: Block, style: Style) -> list[str]:
    count = len(block.header)
    lines = [rf"\begin{{tabular}}{{@{{}}{'l' * block.names}{'r' * (count - block.names)}@{{}}}}", r"\toprule"]
    if block.title:
        lines += [_across(count, style.text(block.title)), r"\midrule"]
    if block.over:
        lines += [_over(block, style)]
    lines += [style.row(list(map(Cell, block.header))), r"\midrule"]
    for i, part in enumerate(block.sections):
        lines += [r"\midrule"] if i else []
        lines += [_across(count, rf"\emph{{{style.text(part.title)}}}")] if part.title else []
        lines += [style.row(cells) for cells in part.rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _across(count: int, text: str) -> str:
    return rf"\multicolumn{{{count}}}{{@{{}}l@{{}}}}{{{text}}} \\"


def _over(block: Block, style: Style) -> str:
    """Return the row of headings over several columns, with a rule below each."""
    cells, rules, at = [], [], 1
    for text, count in block.over:
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{style.text(text)}}}" if text else " & ".join([""] * count))
        rules += [rf"\cmidrule(lr){{{at}-{at + count - 1}}}"] if text else []
        at += count
    return " & ".join(cells) + r" \\ " + "".join(rules)


def _piece(text: str) -> str:
    if text == " ± ":
        return r"\,$\pm$\,"
    if text.startswith("σ="):
        return rf"$\sigma{{=}}{text[2:]}$"
    return "".join(map(_sign, text))


def _sign(sign: str) -> str:
    """Return LaTeX for a sign; one that not every engine and font has becomes its number, as `U+6F22`."""
    if sign in SIGNS or (sign.isascii() and sign.isprintable()):
        return SIGNS.get(sign, sign)
    if sign.isspace():
        return " "
    greek = re.fullmatch(r"GREEK (SMALL|CAPITAL) LETTER (\w+)", unicodedata.name(sign, ""))
    if greek and greek[2] in GREEK[greek[1]].split():
        name = greek[2].lower()
        return rf"$\{name.capitalize() if greek[1] == 'CAPITAL' else name}$"
    base, *marks = unicodedata.normalize("NFD", sign)
    known = sign in "ßæœøåÆŒØÅłŁ" or (base.isascii() and marks and all(mark in ACCENTS for mark in marks))
    return sign if known else rf"\texttt{{U+{ord(sign):04X}}}"
