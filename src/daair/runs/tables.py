"""Tables of results: from per-image rows to one line per benchmark."""

import pandas as pd
from rich.console import Console
from rich.table import Table

KEYS = ["benchmark", "protocol"]
COLUMNS = {
    "benchmark": "benchmark",
    "protocol": "protocol",
    "images": "images",
    "input_psnr": "input PSNR",
    "input_ssim": "input SSIM",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "gain": "gain dB",
}
DIGITS = {"input_psnr": 2, "psnr": 2, "gain": 2, "input_ssim": 4, "ssim": 4}


def per_benchmark(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean over the images of each benchmark and protocol, in the order of first appearance.

    Args:
        rows: per-image rows, see `daair.engine.evaluate`.

    Returns:
        Columns benchmark, protocol, images, input_psnr, input_ssim, psnr, ssim (dB and 1) and gain (dB).
    """
    means = rows.groupby(KEYS, sort=False)[["input_psnr", "input_ssim", "psnr", "ssim"]].mean()
    means.insert(0, "images", rows.groupby(KEYS, sort=False).size())
    means["gain"] = means["psnr"] - means["input_psnr"]
    return means.reset_index()


def show(table: pd.DataFrame, console: Console, title: str | None = None) -> None:
    """Print a table of `per_benchmark`."""
    out = Table(title=title, title_justify="left")
    for name, head in COLUMNS.items():
        out.add_column(head, justify="left" if name in KEYS else "right", no_wrap=True)
    for row in _cells(table):
        out.add_row(*row)
    console.print(out)


def to_markdown(table: pd.DataFrame) -> str:
    """The same as a Markdown table."""
    lines = ["| " + " | ".join(COLUMNS.values()) + " |"]
    lines.append("|" + "|".join(" --- " if name in KEYS else " ---: " for name in COLUMNS) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in _cells(table)]
    return "\n".join(lines) + "\n"


def _cells(table: pd.DataFrame) -> list[list[str]]:
    def text(name: str, value: object) -> str:
        if name == "gain":
            return f"{value:+.2f}"
        return f"{value:.{DIGITS[name]}f}" if name in DIGITS else str(value)

    return [[text(name, row[name]) for name in COLUMNS] for _, row in table.iterrows()]
