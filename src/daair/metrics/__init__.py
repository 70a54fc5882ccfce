"""The table of metrics, which declares each metric once.

The config schema, results.csv, tables, figures and statistics read `METRICS`. To add a metric, add an entry. The metric
is then measured with `metrics=[psnr,ssim,NAME]`, also for the degraded image (column `input_NAME`), and shown with
`collate.metrics=[NAME]`. An installed package adds metrics by entry points of the group `daair.metrics`, each of which
refers to a `Metric`.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from daair.metrics.perceptual import PiqNetwork
from daair.metrics.protocols import PROTOCOLS, Protocol

if TYPE_CHECKING:
    import torch

__all__ = [
    "METRICS", "PROTOCOLS", "Metric", "Protocol", "Score", "derived", "optional_columns", "required_columns",
]  # fmt: skip

Score = Callable[[Protocol, NDArray, NDArray], float]
"""A function that computes a metric of an image against the clean one, both (H, W, 3), by a protocol."""


@dataclass(frozen=True)
class Metric:
    """One metric, which has exactly one of `compute`, `network` and `derive`.

    Attributes:
        name: Name in configs and column of results.csv.
        header: Heading in tables and figures.
        unit: Unit; empty if there is none.
        digits: Number of decimals in tables.
        higher_is_better: Whether larger values are better.
        compute: Function that computes the metric from two images.
        network: Network that computes the metric; its weights may be missing on this machine.
        derive: Function that computes the metric's column from those of the metrics that are always measured. It must
            be linear, so that it also applies to means.
        always: Whether every evaluation measures the metric.
        repeats: Name of the metric whose differences between variants are the same, because the two differ by a number
            of the degraded image alone; a table that shows both tests them once.
    """

    name: str
    header: str
    unit: str
    digits: int
    higher_is_better: bool
    compute: Score | None = None
    network: PiqNetwork | None = None
    derive: Callable[[Any], Any] | None = None
    always: bool = False
    repeats: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns in results.csv for the degraded and the restored image; none for a derived metric."""
        return () if self.derive else (f"input_{self.name}", self.name)

    def missing(self) -> str | None:
        """Return one line that says what is missing to compute the metric on this machine; None if nothing is."""
        return self.network.missing() if self.network else None

    def score(self, device: "torch.device | str" = "cpu") -> Score:
        """Return the function that computes the metric.

        Raises:
            UserError: Weights are missing or damaged.
        """
        return self.network.load(device) if self.network else self.compute


def mean_absolute_error(protocol: Protocol, image: NDArray, reference: NDArray) -> float:
    """Return the mean absolute difference of two images in [0, 1] over pixels and channels."""
    image, reference = protocol.compared(image, reference)
    return float(np.mean(np.abs(image - reference)))


def gain(rows: Any) -> Any:
    """Return the PSNR over that of the degraded images, in dB, of rows with the columns `psnr` and `input_psnr`."""
    return rows["psnr"] - rows["input_psnr"]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("psnr", "PSNR", "dB", 2, higher_is_better=True, compute=Protocol.psnr, always=True),
        Metric("ssim", "SSIM", "", 4, higher_is_better=True, compute=Protocol.ssim, always=True),
        Metric("gain", "gain", "dB", 2, higher_is_better=True, derive=gain, repeats="psnr"),
        Metric("mae", "MAE", "", 4, higher_is_better=False, compute=mean_absolute_error),
        Metric("lpips", "LPIPS", "", 4, higher_is_better=False, network=PiqNetwork("lpips", "LPIPS")),
        Metric("dists", "DISTS", "", 4, higher_is_better=False, network=PiqNetwork("dists", "DISTS")),
    )
}
"""All metrics by name, in the order of the tables."""


def required_columns() -> list[str]:
    """Return the columns of every results.csv: the metrics of the degraded images, then those of the restored ones."""
    always = [metric.columns for metric in METRICS.values() if metric.always]
    return [of_input for of_input, _ in always] + [of_restored for _, of_restored in always]


def optional_columns() -> list[str]:
    """Return the columns of the metrics that are only measured on request."""
    return [name for metric in METRICS.values() if not metric.always for name in metric.columns]


def derived() -> list[Metric]:
    """Return the metrics that are computed from other columns and are not in results.csv."""
    return [metric for metric in METRICS.values() if metric.derive]


def _add_installed() -> None:
    """Add the metrics of installed packages; warn of those that cannot be loaded."""
    for point in entry_points(group="daair.metrics"):
        try:
            metric = point.load()
            METRICS.setdefault(metric.name, metric)
        except Exception as error:  # importing another package may raise any error
            warnings.warn(f"metric {point.name} ({point.value}) cannot be loaded: {error}", stacklevel=2)


_add_installed()
