"""Benchmarks: named test sets, each with its degradation and its metric protocol.

Noise and other synthetic degradations are drawn from a generator keyed by the benchmark's and the image's name, so an
image's input is the same in any subset, order, batch or process. Images are cut to the protocol's size, then degraded.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from daair.data import degradations
from daair.data.catalogue import DATASETS
from daair.data.datasets import LocatedDataset, from_folders, half_a_pair, likely_folders, locate_dataset
from daair.data.degradations import Degradation, Image
from daair.data.images import read_rgb
from daair.data.keyed import keyed_rng
from daair.data.pairing import check_rule
from daair.data.sources import Photographs
from daair.errors import UserError, unknown_name, with_full_keys
from daair.metrics import PROTOCOLS, Protocol

DEMO_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")
"""Photographs of scikit-image that no mix trains on."""

DEGRADED: dict[str, tuple[str, Degradation]] = {
    **{f"sigma{sigma}": (f"noise{sigma}", partial(degradations.noise, sigma=sigma)) for sigma in (15, 25, 50)},
    **{name: (name, getattr(degradations, name)) for name in ("rain", "haze", "blur", "lowlight", "snow", "jpeg")},
}
"""Degradations of clean test images by the last part of a benchmark's name: the label in mixes, and the function."""


@dataclass(frozen=True)
class Benchmark:
    """A named test set: where its images are, how they are degraded, and how they are measured.

    Its images come from a data set that is looked for under the root, from folders of the user's own, or, with neither,
    from the photographs of the demo.

    Attributes:
        name: As on the command line and in tables.
        label: What the mixes call its degradation, for networks that must be told; None if nobody has said.
        dataset: Name in `daair.data.catalogue.DATASETS`.
        target: Folder of the clean images.
        input: Folder of the degraded images, if they are not made.
        rule: How an input's name gives its target's, in folders of the user's own.
        degrade: Makes the input from the clean image, if it is not given.
        protocol: Name of the metric protocol, see `daair.metrics.PROTOCOLS`.
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
    """One image of a benchmark, read when asked for.

    Attributes:
        benchmark: Name of the benchmark.
        name: Name of the image, unique within the benchmark.
        protocol: Name of the benchmark's own metric protocol.
        read_target: Returns the clean image as stored.
        read_input: Returns the degraded image as stored, or None if it is to be made.
        degrade: Makes the input, if it is not stored.
        label: What the mixes call its degradation.
        margin: Pixels that the stored target may have more than the input, on each side.
    """

    benchmark: str
    name: str
    protocol: str
    read_target: Callable[[], Image]
    read_input: Callable[[], Image] | None = None
    degrade: Degradation | None = None
    label: str | None = None
    margin: int = 0

    def pair(self, protocol: Protocol | None = None) -> tuple[Image, Image]:
        """Return input and target, uint8 RGB, (H, W, 3), cut as the protocol says.

        Args:
            protocol: The one to cut for; by default the benchmark's own.

        Raises:
            UserError: A file cannot be read, or the two differ in size.
        """
        protocol = protocol or PROTOCOLS[self.protocol]
        target = self.read_target()
        degraded = None
        if self.degrade is None:
            degraded = self.read_input()
            if self.margin and degraded.shape[:2] == tuple(side - 2 * self.margin for side in target.shape[:2]):
                target = target[self.margin : -self.margin, self.margin : -self.margin]
            if degraded.shape != target.shape:
                sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (degraded, target))
                raise UserError(f"{self.benchmark}: {self.name}: input and target differ in size ({sizes})")
        try:
            target = np.ascontiguousarray(protocol.crop(target))
        except ValueError as error:
            raise UserError(f"{self.benchmark}: {self.name}: {error}") from None
        if degraded is None:
            return self.degrade(target, keyed_rng("benchmark", self.benchmark, self.name)), target
        return np.ascontiguousarray(protocol.crop(degraded)), target


def _benchmarks() -> Iterator[Benchmark]:
    for end, (label, degrade) in DEGRADED.items():
        yield Benchmark("demo_" + end.replace("sigma", "noise"), label, degrade=degrade)
    for dataset in DATASETS.values():
        name, split = dataset.name.split("/")
        if split != "test":
            continue
        if dataset.paired:
            yield Benchmark(name, dataset.label, dataset=dataset.name)
        else:
            for end, (label, degrade) in DEGRADED.items():
                yield Benchmark(f"{name}_{end}", label, dataset=dataset.name, degrade=degrade)


BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _benchmarks()}
"""All benchmarks by name: each test set of the catalogue, the clean ones with each degradation."""


def load_benchmark(benchmark: str | Benchmark, root: str | Path | None = None) -> list[Item]:
    """List a benchmark's images; none is read yet.

    Args:
        benchmark: One of `BENCHMARKS` by name, or another's definition.
        root: Folder with the data sets; not needed for `demo_*` and for folders of the user's own.

    Raises:
        UserError: Unknown name, missing or empty folder, or an input without its clean image.
    """
    benchmark = find_benchmark(benchmark)
    item = partial(Item, benchmark.name, protocol=benchmark.protocol, degrade=benchmark.degrade, label=benchmark.label)
    if benchmark.dataset is None and benchmark.target is None:
        photographs = Photographs(DEMO_PHOTOGRAPHS).pictures()
        return [item(name, read_target=partial(read_rgb, file)) for name, file in photographs]
    located = _own_folders(benchmark) if benchmark.dataset is None else _located(benchmark, root)
    if benchmark.degrade is not None:
        return [item(name, read_target=partial(read_rgb, file)) for name, file in located.named_files()]
    pairing = located.pairing()
    if pairing.lone_inputs:
        raise UserError(half_a_pair(located, pairing))
    item = partial(item, margin=located.dataset.margin)
    return [
        item(pair.name, read_target=partial(read_rgb, pair.target), read_input=partial(read_rgb, pair.input))
        for pair in pairing.pairs
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
    """Describe a benchmark of the user's own: a folder of clean images, and their degraded inputs.

    Without `target` it is one of `BENCHMARKS`, perhaps with another protocol.

    Args:
        name: Names it in tables, and keys its random numbers.
        target: Folder of the clean images.
        input: Folder of the degraded images; or `degrade`.
        rule: How an input's name gives its target's, one of `daair.data.pairing.RULES`; by default `same`.
        degrade: Makes the inputs: one of `DEGRADED`, or a function.
        protocol: Name of the metric protocol; by default `promptir`.
        label: What the mixes call the degradation, for networks that must be told.

    Raises:
        UserError: What is given does not make a benchmark; the message begins with an argument where one is to blame.
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
        own_label, degrade = DEGRADED[degrade]
        label = label or own_label
    return Benchmark(name, label, target=target, input=input, rule=rule or "same", degrade=degrade, **more)


def find_benchmark(benchmark: str | Benchmark) -> Benchmark:
    """Return a benchmark by name; a definition is returned as it is.

    Raises:
        UserError: There is no such benchmark; the message suggests the nearest name.
    """
    if isinstance(benchmark, Benchmark):
        return benchmark
    if benchmark not in BENCHMARKS:
        raise UserError(f"benchmarks: {unknown_name(benchmark, BENCHMARKS)}")
    return BENCHMARKS[benchmark]


def why_missing(benchmark: str | Benchmark, root: str | Path | None = None) -> str | None:
    """Return in one line why a benchmark cannot be run for lack of data; None if it can.

    Raises:
        UserError: A name is unknown.
    """
    benchmark = find_benchmark(benchmark)
    try:
        load_benchmark(benchmark, root)
    except UserError as error:
        return str(error)
    return None


def _located(benchmark: Benchmark, root: str | Path | None) -> LocatedDataset:
    """Find the benchmark's data set, or say where it was looked for."""
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
