"""Benchmarks: named test sets, each with its degradation and its metric protocol.

Inputs do not depend on who asks: noise and other synthetic degradations are drawn from a generator keyed by the
benchmark's and the image's name (``keyed_rng("benchmark", benchmark, image)``), so an image's input is the same in any
subset, order, batch or process. Images are cut to the protocol's size *before* they are degraded.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from daair.data.degradations import haze, noise, rain
from daair.data.keyed import keyed_rng
from daair.data.sources import Photographs, list_images, nearest, read_rgb
from daair.errors import UserError
from daair.metrics import PROTOCOLS

Image = NDArray[np.uint8]
Degradation = Callable[[Image, np.random.Generator], Image]

DEMO_PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")
"""Photographs of scikit-image that no mix trains on."""


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark is; where its files are is the caller's business.

    Attributes:
        name: As on the command line and in tables.
        clean: Folder of the clean images under ``mix.root``; None for the photographs of the demo.
        degraded: Folder of the degraded images under ``mix.root``, if they are given and not made.
        degrade: Makes the input from the clean image, if it is not given.
        rename: Turns the stem of a degraded file into the stem of its clean file.
        label: What the mixes call its degradation, for networks that must be told.
        protocol: Name of the metric protocol, see :data:`daair.metrics.PROTOCOLS`.
    """

    name: str
    label: str
    clean: str | None = None
    degraded: str | None = None
    degrade: Degradation | None = None
    rename: tuple[str, str] = ("", "")
    protocol: str = "promptir"

    @property
    def folders(self) -> list[str]:
        """Folders that it needs under ``mix.root``."""
        return [folder for folder in (self.degraded, self.clean) if folder is not None]


@dataclass(frozen=True)
class Item:
    """One image of a benchmark, read when asked for.

    Attributes:
        benchmark: Name of the benchmark.
        name: Name of the image, unique within the benchmark.
        protocol: Name of the metric protocol.
        read_input: Returns the degraded image as stored, or None if it is to be made.
        read_target: Returns the clean image as stored.
        degrade: Makes the input, if it is not stored.
    """

    benchmark: str
    name: str
    protocol: str
    read_target: Callable[[], Image]
    read_input: Callable[[], Image] | None = None
    degrade: Degradation | None = None

    def pair(self, protocol: str | None = None) -> tuple[Image, Image]:
        """Returns input and target, uint8 RGB, (H, W, 3), cut as the benchmark's or another protocol says.

        Raises:
            UserError: A file cannot be read, or the two differ in size.
        """
        crop = PROTOCOLS[protocol or self.protocol].crop
        stored = self.read_target()
        try:
            target = np.ascontiguousarray(crop(stored))
        except ValueError as error:
            raise UserError(f"{self.benchmark}: {self.name}: {error}") from None
        if self.degrade is not None:
            return self.degrade(target, keyed_rng("benchmark", self.benchmark, self.name)), target
        degraded = self.read_input()
        if degraded.shape != stored.shape:
            sizes = " and ".join(f"{image.shape[1]}x{image.shape[0]}" for image in (degraded, stored))
            raise UserError(f"{self.benchmark}: {self.name}: input and target differ in size ({sizes})")
        return np.ascontiguousarray(crop(degraded)), target


def _benchmarks() -> Iterable[Benchmark]:
    for sigma in (15, 25, 50):
        yield Benchmark(f"demo_noise{sigma}", f"noise{sigma}", degrade=partial(noise, sigma=sigma))
    yield Benchmark("demo_rain", "rain", degrade=rain)
    yield Benchmark("demo_haze", "haze", degrade=haze)
    for sigma in (15, 25, 50):
        degrade = partial(noise, sigma=sigma)
        yield Benchmark(f"cbsd68_sigma{sigma}", f"noise{sigma}", clean="denoising/cbsd68", degrade=degrade)
    yield Benchmark(
        "rain100l",
        "rain",
        clean="deraining/rain100l/test/target",
        degraded="deraining/rain100l/test/input",
        rename=("rain-", "norain-"),
    )


BENCHMARKS: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _benchmarks()}
"""All benchmarks by name."""


def load_benchmark(name: str, mix_root: str | Path | None = None) -> list[Item]:
    """Lists a benchmark's images; none is read yet.

    Args:
        name: One of :data:`BENCHMARKS`.
        mix_root: Folder with the data; not needed for ``demo_*``.

    Raises:
        UserError: Unknown name, missing folder, or an input without its clean image.
    """
    benchmark = find(name)
    reason = why_missing(name, mix_root)
    if reason:
        raise UserError(reason)
    if benchmark.clean is None:
        photographs = Photographs(DEMO_PHOTOGRAPHS)
        return [
            Item(name, photo, benchmark.protocol, partial(_photograph, photographs, i), degrade=benchmark.degrade)
            for i, photo in enumerate(DEMO_PHOTOGRAPHS)
        ]
    clean = list_images(Path(mix_root, benchmark.clean))
    if benchmark.degraded is None:
        return [
            Item(name, file.name, benchmark.protocol, partial(read_rgb, file), degrade=benchmark.degrade)
            for file in clean
        ]
    by_stem = {file.stem: file for file in clean}
    items = []
    for file in list_images(Path(mix_root, benchmark.degraded)):
        stem = file.stem.replace(*benchmark.rename, 1)
        if stem not in by_stem:
            raise UserError(f"{file}: no clean image '{stem}' in {Path(mix_root, benchmark.clean)}; restore the pair")
        items.append(
            Item(name, file.name, benchmark.protocol, partial(read_rgb, by_stem[stem]), partial(read_rgb, file))
        )
    return items


def find(name: str) -> Benchmark:
    """Returns a benchmark by name.

    Raises:
        UserError: There is none; the message suggests the nearest name.
    """
    if name not in BENCHMARKS:
        hint = nearest(name, BENCHMARKS) or f"known are {', '.join(BENCHMARKS)}"
        raise UserError(f"benchmarks: '{name}' is unknown; {hint}")
    return BENCHMARKS[name]


def why_missing(name: str, mix_root: str | Path | None = None) -> str | None:
    """Says in one line why a benchmark cannot be run for want of data; None if it can."""
    for folder in find(name).folders:
        if mix_root is None:
            return f"mix.root: needed by benchmark {name}; the folder with {folder}"
        if not Path(mix_root, folder).is_dir():
            return f"{Path(mix_root, folder)}: no such folder, but benchmark {name} needs it; check mix.root"
    return None


def available(names: Sequence[str], mix_root: str | Path | None = None) -> list[str]:
    """Returns those of the named benchmarks whose data is there, in the given order.

    Raises:
        UserError: A name is unknown.
    """
    return [name for name in names if why_missing(name, mix_root) is None]


def digest(items: Iterable[Item]) -> str:
    """Returns a hash of names, inputs and targets: equal digests mean that the very same pixels were measured on."""
    total = hashlib.sha256()
    for item in items:
        total.update(item.name.encode() + b"\0")
        for image in item.pair():
            total.update(repr(image.shape).encode() + image.tobytes())
    return total.hexdigest()[:16]


def _photograph(photographs: Photographs, index: int) -> Image:
    return photographs.load()[index][1]
