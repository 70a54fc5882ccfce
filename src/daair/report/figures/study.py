"""The data of a study in the form in which figures want it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from daair.report import variants
from daair.report.figures.style import SEVERAL
from daair.runs.record import Record

METRICS = {
    "psnr": ("PSNR", "dB", True),
    "ssim": ("SSIM", "", True),
    "gain": ("PSNR gain", "dB", True),
    "lpips": ("LPIPS", "", False),
    "dists": ("DISTS", "", False),
}
"""Name, unit, and whether higher is better."""


@dataclass(frozen=True)
class Study:
    """What figures are drawn of.

    Attributes:
        runs: a row per run, see `daair.report.frame`.
        images: a row per run, benchmark, protocol and image; of each benchmark one protocol.
        folder: of all runs (`paths.runs`); a run's folder lies below it.
        keys: config keys in which the variants differ.
        rows: columns that name a variant.
        reference: the variant that others are compared with, or None.
    """

    runs: pd.DataFrame
    images: pd.DataFrame
    folder: Path
    keys: tuple[str, ...]
    rows: tuple[str, ...]
    reference: str | None = None

    @cached_property
    def names(self) -> dict[str, str]:
        """What each variant is called, in order."""
        return variants.names(self.runs, self.rows)

    @cached_property
    def benchmarks(self) -> list[str]:
        """Names, in the order of the results."""
        return [str(name) for name in self.images["benchmark"].unique()]

    @cached_property
    def protocols(self) -> list[str]:
        """Names of the metric protocols."""
        return [str(name) for name in self.images["protocol"].unique()]

    @cached_property
    def means(self) -> pd.DataFrame:
        """A row per run and benchmark, a column per metric: means over the images."""
        keys = [name for name in METRICS if name in self.images]
        return self.images.groupby(["run", "benchmark"], observed=True, sort=False)[keys].mean()

    def scores(self, metric: str) -> pd.DataFrame:
        """A row per variant and seed, a column per benchmark: means over the images, NaN where a run has none."""
        scores = self.means[metric].unstack("benchmark")
        scores.columns = scores.columns.astype(str)
        owners = self.runs.set_index("run").loc[scores.index]
        scores.index = pd.MultiIndex.from_arrays([owners["variant"].astype(str), owners["seed"]])
        return scores[self.benchmarks]

    def averages(self, metric: str) -> pd.Series:
        """Return the mean over all benchmarks by variant and seed; only of runs that were measured on all of them."""
        return self.scores(metric).mean(axis=1, skipna=False).dropna()

    def best(self, metric: str = "psnr") -> str | None:
        """Return the variant with the best average over seeds and benchmarks."""
        means = self.averages(metric).groupby(level=0).mean()
        return None if means.empty else str(means.idxmax() if METRICS[metric][2] else means.idxmin())

    def few(self) -> list[str]:
        """At most `SEVERAL` variants: all, or the reference and the best by average PSNR; in order."""
        ordered = list(self.names)
        if len(ordered) <= SEVERAL:
            return ordered
        means = self.averages("psnr").groupby(level=0).mean().sort_values(ascending=False, kind="stable")
        first = [self.reference] if self.reference in ordered else []
        chosen = list(dict.fromkeys([*first, *means.index, *ordered]))[:SEVERAL]
        return [variant for variant in ordered if variant in chosen]

    def few_note(self) -> str:
        """Return a sentence for a caption that shows `few` of the variants; empty if it shows all."""
        total, reference = len(self.names), "the reference and " if self.reference in self.names else ""
        return (
            "" if total <= SEVERAL else f" Shown: {reference}the best by average PSNR, {SEVERAL} of {total} variants."
        )

    @cached_property
    def _places(self) -> dict[str, np.ndarray]:
        """Positions in `runs` of each variant's runs."""
        groups = self.runs.groupby("variant", observed=True, sort=False).indices
        return {str(variant): places for variant, places in groups.items()}

    def runs_of(self, variant: str) -> pd.DataFrame:
        """Return the rows of a variant's runs, by seed."""
        return self.runs.iloc[self._places[variant]].sort_values("seed")

    def record(self, run: str) -> Record:
        """Return the folder of a run."""
        return Record(self.folder / run)

    @cached_property
    def _metrics(self) -> dict[str, list[dict]]:
        return {}

    def metrics(self, run: str) -> list[dict]:
        """Return the lines of a run's metrics.jsonl; read once, and only of runs that are shown."""
        if run not in self._metrics:
            self._metrics[run] = self.record(run).metrics()
        return self._metrics[run]

    def seeds_note(self) -> str:
        """`3 seeds`, `2 to 3 seeds`, `seed 0 only`."""
        measured = self.runs[self.runs["run"].isin(self.images["run"].unique())]
        counts = measured.groupby("variant", observed=True)["seed"].nunique()
        low, high = int(counts.min()), int(counts.max())
        if high == 1:
            return "one seed, so no spread is known"
        return f"{high} seeds" if low == high else f"{low} to {high} seeds"


def one_protocol(images: pd.DataFrame, wanted: Sequence[str] | None = None) -> pd.DataFrame:
    """Return rows of one protocol per benchmark: of `wanted`, else the one with the most rows, the first of equals."""
    if wanted:
        return images[images["protocol"].isin(list(wanted))]
    counts = images.groupby(["benchmark", "protocol"], observed=True, sort=False).size()
    best = set(counts.groupby(level=0, observed=True, sort=False).idxmax())
    numbers = images.groupby(["benchmark", "protocol"], observed=True, sort=False).ngroup()
    return images[numbers.isin([i for i, pair in enumerate(counts.index) if pair in best])]
