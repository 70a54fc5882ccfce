"""Compare two networks over seeds that were collated one by one.

    python experiments/longer40/seeds.py DaAIR-NAF-kinds NAFNet whole_0.csv whole_1.csv whole_2.csv

Each file is a `table.csv` of one seed, as the README beside tells, or several of one seed with `+` between their names;
those that lack one of the networks are left out.
The result is a Markdown table: mean and standard deviation of both networks over the seeds, the mean difference, its
value for each seed, and the 95 % interval of a t test over the differences. The interval is one for other seeds on the
same images, not corrected for the number of columns; two seeds have a very wide one.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
from scipy import stats

FOLDER = Path(__file__).parent


def read(names: Sequence[str], networks: Sequence[str], metric: str = "psnr") -> dict[str, pd.DataFrame]:
    """Return the means of both networks (rows) for each column of the table, by the name of the file.

    Raises:
        SystemExit: A file does not hold a single seed, or no file has both networks.
    """
    frames = {}
    for name in names:
        table = pd.concat([pd.read_csv(FOLDER / part) for part in name.split("+")])
        table = table[(table["metric"] == metric) & table["label"].isin(networks)]
        if (table["seeds"] != 1).any():
            raise SystemExit(f"{name}: must be of one seed")
        means = table.pivot(index="label", columns="column", values="mean")[table["column"].unique()]
        if set(networks) <= set(means.index):
            frames[name] = means
    if not frames:
        raise SystemExit(f"no file has both {networks[0]} and {networks[1]}")
    return frames


def lines(first: str, second: str, frames: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    """Yield the lines of the Markdown table."""
    seeds = pd.concat(frames, names=["file"])
    values = {name: seeds.xs(name, level="label") for name in (first, second)}
    difference = values[first] - values[second]
    count = len(difference)
    yield "| PSNR, dB | " + " | ".join(difference.columns) + " |"
    yield "| --- |" + " ---: |" * len(difference.columns)
    for name, found in values.items():
        spread = found.std() if count > 1 else found.iloc[0] * float("nan")
        cells = (f"{mean:.2f} ± {sd:.2f}" for mean, sd in zip(found.mean(), spread, strict=True))
        yield f"| {name} | {' | '.join(cells)} |"
    yield _signed("difference, mean", difference.mean())
    for name, found in difference.iterrows():
        yield _signed(f"difference, {name}", found)
    if count > 1:
        half = stats.t.ppf(0.975, count - 1) * difference.std() / count**0.5
        yield _signed("95 % interval, low", difference.mean() - half)
        yield _signed("95 % interval, high", difference.mean() + half)


def _signed(name: str, values: pd.Series) -> str:
    return f"| {name} | {' | '.join(f'{value:+.2f}' for value in values)} |"


if __name__ == "__main__":
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    print(*lines(sys.argv[1], sys.argv[2], read(sys.argv[3:], sys.argv[1:3])), sep="\n")
