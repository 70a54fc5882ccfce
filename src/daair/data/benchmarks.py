"""Benchmarks: named test sets, each with its degradation and its metric protocol.

Images are first cropped to the size that the protocol prescribes, then degraded. The random generator of a synthetic
degradation is keyed by the names of the benchmark and the image, so an image has the same input in any subset, order,
batch or process.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from daair.data import degradations
from daair.data.catalogue import DATASETS
from daair.data.datasets import LocatedDataset, from_folders, half_a_pair, likely_folders, locate_dataset
from daair.data.degradations import Degradation, degraded
from daair.data.images import read_rgb
from daair.data.keyed import keyed_rng
from daair.data.pairing import check_rule
from daair.data.sources import Photographs
from daair.errors import UserError, unknown_name, with_full_keys
from daair.metrics import PROTOCOLS, Protocol
from daair.pixels import Image

DEMO_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")
"""Photographs of scikit-image that belong to no training set of the mixes."""


class Made(NamedTuple):
    """A degradation of clean test images: the mixes' label, the function, and the papers' protocol."""

    label: str
    degrade: Degradation
    protocol: str = "promptir"


LEVELS = (15, 25, 50)
"""Usual standard deviations of Gaussian noise, in grey levels of 255."""

DEGRADED: dict[str, Made] = {
    **{f"sigma{sigma}": Made(f"noise{sigma}", partial(degradations.noise, sigma=sigma)) for sigma in LEVELS},
    **{f"awgn{sigma}": Made("awgn", partial(degradations.awgn, sigma=sigma), "basicsr_rgb") for sigma in LEVELS},
    **{name: Made(name, getattr(degradations, name)) for name in ("rain", "haze", "blur", "lowlight", "snow", "jpeg")},
}
"""Degradations of clean test images, by the last part of a benchmark's name.

`sigma` is the noise of AirNet's family, clipped and truncated to 8 bits; `awgn` is that of the classic denoising
papers, in floating point. Results on one are not comparable with results on the other.
"""


@dataclass(frozen=True)
class Benchmark:
    """A named test set, with its images, its degradation and its metric protocol.

    The images come from `dataset`, which is looked for under the root, or from the user's own folders `target` and
    `input`. If none of these is set, they are the photographs of the demo.

    Attributes:
        name: Name on the command line and in tables.
        label: The mixes' name of the degradation, for networks that need it as an input; None if it is not known.
        dataset: Name in `daair.data.catalogue.DATASETS`.
        target: Folder of the clean images.
        input: Folder of the degraded images; None if `degrade` makes them.
        rule: Rule that gives the name of an input's target in the user's own folders; see
            `daair.data.pairing.check_rule`.
        degrade: Function that makes the input from the clean image; None if the inputs are files.
        protocol: Name of the metric protocol; see `daair.metrics.PROTOCOLS`.
    """

    name: str
    label: str | None = None
    dataset: str | None = None
    target: str | None = None
    input: str | None = None
    rule: str = "same"
    degrade: Degradation | None = None
    protocol: str = "promptir"


@dataclass(frozen=True)
class Item:
    """One image of a benchmark, which is read on demand.

    Attributes:
        benchmark: Name of the benchmark.
        name: Name of the image, unique within the benchmark.
        protocol: Name of the benchmark's own metric protocol.
        read_target: Function that reads the clean image.
        read_input: Function that reads the degraded image; None if `degrade` makes it.
        degrade: Function that makes the input from the clean image; None if the input is a file.
        label: The mixes' name of the degradation; None if it is not known.
        margin: Number of pixels by which the stored target may exceed the input on each side.
        files: The files that are read.
    """

    benchmark: str
    name: str
    protocol: str
    read_target: Callable[[], Image]
    read_input: Callable[[], Image] | None = None
    degrade: Degradation | None = None
    label: str | None = None
    margin: int = 0
    files: tuple[Path, ...] = ()

    def pair(self, protocol: Protocol | None = None) -> tuple[Image, Image]:
        """Return input and target, RGB, (H, W, 3), cropped as a protocol prescribes.

        Either is uint8, or float32 with white at 1 if its file has 16 bits or its noise is not rounded.

        Args:
            protocol: The metric protocol; by default the benchmark's own.

        Raises:
            UserError: A file cannot be read, the two differ in size or are too small for the protocol, or `degrade`
                fails.
        """
        protocol = protocol or PROTOCOLS[self.protocol]
        target = self.read_target()
        stored = None
        if self.degrade is None:
            stored = self.read_input()
            if self.margin and stored.shape[:2] == tuple(side - 2 * self.margin for side in target.shape[:2]):
                target = target[self.margin : -self.margin, self.margin : -self.margin]
            if stored.shape != target.shape:
                sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (stored, target))
                raise UserError(f"{self.benchmark}: {self.name}: input and target differ in size ({sizes})")
        try:
            target = np.ascontiguousarray(protocol.crop(target))
            if stored is None:
                return degraded(target, self.degrade, keyed_rng("benchmark", self.benchmark, self.name)), target
        except ValueError as error:
            raise UserError(f"{self.benchmark}: {self.name}: {error}") from None
        return np.ascontiguousarray(protocol.crop(stored)), target


def _benchmarks() -> Iterator[Benchmark]:
    for end, made in DEGRADED.items():
        yield Benchmark("demo_" + end.replace("sigma", "noise"), **made._asdict())
    for dataset in DATASETS.values():
        name, split = dataset.name.split("/")
        if split != "test":
            continue
        if dataset.paired:
            protocol = "moceir_whole" if name.startswith("cdd11_") else "promptir"
            yield Benchmark(name, dataset.label, dataset=dataset.name, protocol=protocol)
        else:
            for end, made in DEGRADED.items():
                yield Benchmark(f"{name}_{end}", dataset=dataset.name, **made._asdict())


BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _benchmarks()}
"""All benchmarks by name: each test set of the catalogue, the clean ones with each degradation."""


def load_benchmark(benchmark: str | Benchmark, root: str | Path | None = None) -> list[Item]:
    """List a benchmark's images without reading them.

    Args:
        benchmark: Name in `BENCHMARKS`, or a definition.
        root: Folder with the data sets; not needed for `demo_*` and for the user's own folders.

    Raises:
        UserError: The name is unknown, a folder is missing or empty, or an input has no target.
    """
    benchmark = find_benchmark(benchmark)
    item = partial(Item, benchmark.name, protocol=benchmark.protocol, degrade=benchmark.degrade, label=benchmark.label)
    if benchmark.dataset is None and benchmark.target is None:
        photographs = Photographs(DEMO_PHOTOGRAPHS).pictures()
        return [item(name, read_target=partial(read_rgb, file)) for name, file in photographs]
    located = _own_folders(benchmark) if benchmark.dataset is None else _located(benchmark, root)
    if benchmark.degrade is not None:
        files = located.named_files()
        return [item(name, read_target=partial(read_rgb, file), files=(file,)) for name, file in files]
    pairing = located.pairing()
    if pairing.lone_inputs:
        raise UserError(half_a_pair(located, pairing))
    item = partial(item, margin=located.dataset.margin)
    return [
        item(
            one.name,
            read_target=partial(read_rgb, one.target),
            read_input=partial(read_rgb, one.input),
            files=(one.target, one.input),
        )
        for one in pairing.pairs
    ]


def define(
    name: str,
    *,
    target: str | None = None,
    input: str | None = None,
    rule: str | None = None,
    degrade: str | Degradation | None = None,
    protocol: str | None = None,
    label: str | None = None,
) -> Benchmark:
    """Define a benchmark from the user's own folders, or one of `BENCHMARKS` with another protocol.

    One of `BENCHMARKS` is returned if no argument but `name` and `protocol` is given. Otherwise `target` and either
    `input` or `degrade` are needed; see `Benchmark` for their meaning.

    Args:
        name: Name in tables, which also keys the random generators.
        target: Folder of the clean images.
        input: Folder of the degraded images.
        rule: A rule, see `daair.data.pairing.check_rule`; by default `same`.
        degrade: Name in `DEGRADED`, or a function.
        protocol: Name of the metric protocol; by default that of `degrade` in `DEGRADED`, otherwise `promptir`.
        label: The mixes' name of the degradation; by default that of `DEGRADED`, if `degrade` is a name.

    Raises:
        UserError: The arguments do not define a benchmark; the message begins with the name of a wrong argument.
    """
    if protocol is not None and protocol not in PROTOCOLS:
        raise UserError(f"protocol: {unknown_name(protocol, PROTOCOLS)}")
    more = {} if protocol is None else {"protocol": protocol}
    if (target, input, rule, degrade, label) == (None,) * 5:
        return replace(find_benchmark(name), **more)
    if name in BENCHMARKS:
        raise UserError("is the name of a benchmark already; choose another for your own")
    if target is None:
        raise UserError("target: missing; the folder of the clean images")
    if (input is None) == (degrade is None):
        raise UserError("give either input=DIR (degraded images) or degrade=NAME (makes them)")
    if rule is not None:
        check_rule(rule)
    if isinstance(degrade, str):
        if degrade not in DEGRADED:
            raise UserError(f"degrade: {unknown_name(degrade, DEGRADED)}")
        made = DEGRADED[degrade]
        label, degrade, more = label or made.label, made.degrade, {"protocol": made.protocol, **more}
    return Benchmark(name, label, target=target, input=input, rule=rule or "same", degrade=degrade, **more)


def find_benchmark(benchmark: str | Benchmark) -> Benchmark:
    """Return the benchmark of a name; a definition is returned as it is.

    Raises:
        UserError: The name is unknown; the message suggests the nearest one.
    """
    if isinstance(benchmark, Benchmark):
        return benchmark
    if benchmark not in BENCHMARKS:
        raise UserError(f"benchmarks: {unknown_name(benchmark, BENCHMARKS)}")
    return BENCHMARKS[benchmark]


def why_missing(benchmark: str | Benchmark, root: str | Path | None = None) -> str | None:
    """Return one line that says which data a benchmark lacks; None if it can be run.

    Raises:
        UserError: The name is unknown.
    """
    benchmark = find_benchmark(benchmark)
    try:
        load_benchmark(benchmark, root)
    except UserError as error:
        return str(error)
    return None


def _located(benchmark: Benchmark, root: str | Path | None) -> LocatedDataset:
    """Find the benchmark's data set; raise a UserError that names the expected folders if it is missing."""
    first, others = likely_folders(benchmark.dataset, root or "")
    if root is None:
        raise UserError(f"root: needed by benchmark {benchmark.name}; the folder with {first}")
    located = locate_dataset(benchmark.dataset, root)
    if located is None:
        raise UserError(f"root: {first}: no such folder, but benchmark {benchmark.name} needs it{others}")
    return located


def _own_folders(benchmark: Benchmark) -> LocatedDataset:
    try:
        return from_folders(f"{benchmark.name}/test", benchmark.target, benchmark.input, benchmark.rule)
    except UserError as error:
        raise UserError(with_full_keys(str(error), f"benchmarks.{benchmark.name}", ("input", "target"))) from None
