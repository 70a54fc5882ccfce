"""Draw time.png: the average over the five trained benchmarks against the training time of one core.

    python experiments/longer/time.py

The numbers are those of the committed tables: two minutes of ../peers_equal_time, ten of table.csv and (Restormer,
PromptIR, AirNet and MoCE-IR) of peers_1.csv, forty of ../longer40. Bars are standard deviations over seeds.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from daair.files import replacing
from daair.report.figures.style import COLOURS, LINES, MARKERS, styled

FOLDER = Path(__file__).parent
SHOWN = ("DaAIR-NAF", "DaAIR-NAF-kinds", "NAFNet", "DaAIR", "MoCE-IR", "Restormer", "PromptIR", "AirNet")
TABLES = (
    (2, "../peers_equal_time/table.csv", "average"),
    (10, "table.csv", "trained"),
    (10, "peers_1.csv", "trained"),
    (40, "../longer40/whole_0.csv", "trained"),
    (40, "../longer40/whole_1.csv", "trained"),
    (40, "../longer40/whole_2.csv", "trained"),
    (40, "../longer40/restormer_0.csv", "trained"),
    (40, "../longer40/restormer_1.csv", "trained"),
    (40, "../longer40/restormer_2.csv", "trained"),
)
"""Minutes, file, and the column of the average."""


def points() -> Iterator[tuple[str, int, float, float]]:
    """Yield network, minutes, mean in dB and standard deviation over seeds in dB (0 for a single seed)."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for minutes, file, column in TABLES:
        table = pd.read_csv(FOLDER / file)
        table = table[(table["metric"] == "psnr") & (table["column"] == column)]
        for row in table.itertuples():
            found[row.label, minutes].append((row.mean, row.sd))
    for (name, minutes), values in found.items():
        means = pd.Series([mean for mean, _ in values])
        spread = values[0][1] if len(values) == 1 else means.std()
        yield name, minutes, means.mean(), 0.0 if pd.isna(spread) else spread


def draw() -> Figure:
    """Return the figure."""
    table = pd.DataFrame(points(), columns=["name", "minutes", "mean", "sd"])
    figure = Figure(figsize=(5.0, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, colour, marker, line in zip(SHOWN, COLOURS, MARKERS, LINES, strict=False):
        own = table[table["name"] == name].sort_values("minutes")
        axes.errorbar(
            own["minutes"], own["mean"], own["sd"], color=colour, marker=marker, linestyle=line, markersize=4,
            linewidth=1, capsize=2, label=name,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks([2, 10, 40], labels=["2", "10", "40"])
    axes.minorticks_off()
    axes.set_xlabel("training time of one core, minutes")
    axes.set_ylabel("PSNR, mean over five benchmarks, dB")
    figure.legend(loc="outside right upper")
    return figure


if __name__ == "__main__":
    with styled(), replacing(FOLDER / "time.png") as file:
        draw().savefig(file, dpi=150, format="png")
