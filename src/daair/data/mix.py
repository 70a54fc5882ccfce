"""A mix: which degradations, from which images, in which proportion; and what the loader draws from it.

Everything random about a training sample is a function of (seed, epoch, index): no state passes from one sample to the
next. So samples are the same with any number of workers and processes, and after a resume.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import cv2
import numpy as np
import torch
from annotated_types import Ge, MinLen, MultipleOf
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from daair.data.keyed import keyed_rng
from daair.data.listing import nearest
from daair.data.sources import Named, Source
from daair.errors import UserError

Degradation = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
Sample = dict[str, Any]

# The loader is parallel by its workers; OpenCV's own threads would fight them, and do not survive a fork.
cv2.setNumThreads(0)


class Mix:
    """Clean images, degradations and their weights.

    Construction is cheap: no file is read before :meth:`prepare` or the first data set.

    Args:
        train: Sources of the clean images to train on. Their paths are relative to ``root``.
        val: Sources of held-out clean images, disjoint from ``train``.
        degradations: Functions ``(image, rng) -> image`` by name; see :mod:`daair.data.degradations`.
        weights: Share of each degradation in the samples, by name; any unit, 0 leaves it out.
        patch: Height and width of training crops in pixels.
        augment: Flip and rotate crops by multiples of 90 degrees, at random.
        repeats: Samples per clean image and epoch.
        val_patch: Height and width of validation crops in pixels.
        val_crops: Validation crops per degradation, spread over the images.
        root: Folder with the data, for sources and benchmarks that read files.
        benchmarks: Names of the test sets that belong to this mix; see :mod:`daair.data.benchmarks`.
        name: Name of the mix, for messages.
    """

    def __init__(
        self,
        *,
        train: Annotated[Sequence[Source], MinLen(1)],
        val: Annotated[Sequence[Source], MinLen(1)],
        degradations: Annotated[Mapping[str, Degradation], MinLen(1)],
        weights: Mapping[str, Annotated[float, Ge(0)]],
        patch: Annotated[int, Ge(8)] = 128,
        augment: bool = True,
        repeats: Annotated[int, Ge(1)] = 1,
        val_patch: Annotated[int, Ge(16), MultipleOf(8)] = 128,
        val_crops: Annotated[int, Ge(1)] = 16,
        root: str | None = None,
        benchmarks: Sequence[str] = (),
        name: str = "mix",
    ) -> None:
        _check_weights(degradations, weights)
        if root is None and any(source.needs_root for source in (*train, *val)):
            raise UserError(f"mix.root: needed by mix={name}; the folder with train/clean and val/clean")
        self.train, self.val = tuple(train), tuple(val)
        self.degradations = dict(degradations)
        self.weights = {label: float(weights[label]) for label in self.degradations}
        self.patch, self.augment, self.repeats = patch, augment, repeats
        self.val_patch, self.val_crops = val_patch, val_crops
        self.root, self.benchmarks, self.name = root, tuple(benchmarks), name

    @property
    def labels(self) -> list[str]:
        """Names of the degradations in the order of the config; a sample's label is the position here."""
        return list(self.degradations)

    def prepare(self) -> None:
        """Reads and draws all images now, so that forked workers share them instead of each decoding its own."""
        self._images("train")
        self._images("val")

    def train_dataset(self, seed: int) -> "TrainDataset":
        """Returns the endless training samples of one seed."""
        images = self._images("train")
        _check_sizes(images, self.patch, key="mix.patch", which="training")
        return TrainDataset(images, self.degradations, self.weights, self.patch, self.augment, self.repeats, seed)

    def val_dataset(self) -> "ValDataset":
        """Returns fixed held-out crops: ``val_crops`` for each degradation whose weight is not 0.

        They do not depend on the run's seed, so that runs can be compared.
        """
        images = self._images("val")
        _check_sizes(images, self.val_patch, key="mix.val_patch", which="validation")
        active = {label: f for label, f in self.degradations.items() if self.weights[label] > 0}
        return ValDataset(images, active, self.labels, self.val_patch, self.val_crops)

    def _images(self, part: str) -> Named:
        sources = self.train if part == "train" else self.val
        return [pair for source in sources for pair in source.load(self.root)]


class TrainDataset(Dataset):
    """Training samples ``ds[k]`` for any counter ``k >= 0``: sample ``k % len(ds)`` of epoch ``k // len(ds)``.

    An epoch has ``len(ds) = images * repeats`` samples and visits each image ``repeats`` times, in an order of its own.
    The degradation of each sample is drawn by weight.

    A sample holds ``input`` and ``target``, float32 (3, patch, patch) in [0, 1]; ``label``, the degradation's position
    in ``Mix.labels``; and ``key``, which is ``k``.
    """

    def __init__(
        self,
        images: Named,
        degradations: Mapping[str, Degradation],
        weights: Mapping[str, float],
        patch: int,
        augment: bool,
        repeats: int,
        seed: int,
    ) -> None:
        self.images = images
        self.degradations = list(degradations.values())
        shares = np.array([weights[label] for label in degradations], np.float64)
        self.cumulative = np.cumsum(shares / shares.sum())
        self.patch, self.augment, self.repeats, self.seed = patch, augment, repeats, seed
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.images) * self.repeats

    def __getitem__(self, key: int) -> Sample:
        if key < 0:
            raise IndexError(f"sample {key}: counters start at 0")
        epoch, index = divmod(int(key), len(self))
        _, image = self.images[self.order(epoch)[index]]
        rng = keyed_rng("train", self.seed, epoch, index)
        # Not beyond the last label with a weight, in case the cumulative sum ends a rounding error below 1.
        label = min(
            int(np.searchsorted(self.cumulative, rng.random(), side="right")),
            int(np.searchsorted(self.cumulative, self.cumulative[-1])),
        )
        # Crop first: degrading 128 x 128 pixels costs a tenth of degrading the photograph.
        clean = _random_crop(image, self.patch, rng)
        if self.augment:
            # Before degrading, so that rain falls down and haze thickens upwards in every sample, as in test images.
            clean = _turn(clean, int(rng.integers(8)))
        degraded = self.degradations[label](clean, rng)
        return {"input": _to_tensor(degraded), "target": _to_tensor(clean), "label": label, "key": int(key)}

    def order(self, epoch: int) -> NDArray[np.int64]:
        """Returns the image positions of an epoch: each of them ``repeats`` times, shuffled."""
        if self._order[0] != epoch:
            rng = keyed_rng("order", self.seed, epoch)
            self._order = (epoch, rng.permutation(len(self)) % len(self.images))
        return self._order[1]


class ValDataset(Dataset):
    """Fixed crops of held-out images, each under every active degradation.

    A sample has the fields of :class:`TrainDataset` and ``name``, such as ``noise25/chelsea-0``. Neighbouring samples
    share the degradation. Crop ``i`` comes from image ``i % images`` and is the same for all degradations.
    """

    def __init__(
        self, images: Named, degradations: Mapping[str, Degradation], labels: Sequence[str], patch: int, crops: int
    ) -> None:
        self.images, self.patch, self.crops = images, patch, crops
        self.degradations = [(labels.index(label), label, f) for label, f in degradations.items()]

    def __len__(self) -> int:
        return len(self.degradations) * self.crops

    def __getitem__(self, key: int) -> Sample:
        if not 0 <= key < len(self):
            raise IndexError(f"validation sample {key} of {len(self)}")
        which, crop = divmod(int(key), self.crops)
        position, label, degrade = self.degradations[which]
        name, image = self.images[crop % len(self.images)]
        clean = _random_crop(image, self.patch, keyed_rng("val-crop", name, crop))
        degraded = degrade(clean, keyed_rng("val", label, name, crop))
        return {
            "input": _to_tensor(degraded),
            "target": _to_tensor(clean),
            "label": position,
            "key": int(key),
            "name": f"{label}/{name}-{crop // len(self.images)}",
        }


class StepSampler(Sampler[list[int]]):
    """Batches of sample counters for one process: a pure function of the position, so that a resume is exact.

    Micro-batch ``m`` of all processes together holds the counters ``m * batch_size ... (m + 1) * batch_size - 1``; each
    process takes a contiguous slice. Use it as ``DataLoader(batch_sampler=...)`` and count accumulation in
    micro-batches.

    Args:
        batch_size: Samples per micro-batch over all processes.
        rank: This process, from 0.
        world: Number of processes; divides ``batch_size``.
        start: First micro-batch.
        stop: One past the last micro-batch.
    """

    def __init__(self, batch_size: int, rank: int, world: int, start: int, stop: int) -> None:
        if batch_size < 1 or batch_size % world:
            raise UserError(f"train.batch_size: {batch_size} cannot be shared evenly by {world} processes")
        if not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world}")
        self.batch_size, self.rank, self.world, self.start, self.stop = batch_size, rank, world, start, stop

    def __len__(self) -> int:
        return max(0, self.stop - self.start)

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch_size // self.world
        for step in range(self.start, self.stop):
            first = step * self.batch_size + self.rank * share
            yield list(range(first, first + share))


def _random_crop(image: NDArray[np.uint8], size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Cuts a (size, size, 3) window at a random position."""
    top = int(rng.integers(image.shape[0] - size + 1))
    left = int(rng.integers(image.shape[1] - size + 1))
    return image[top : top + size, left : left + size]


def _turn(image: NDArray[np.uint8], pose: int) -> NDArray[np.uint8]:
    """Applies one of the 8 symmetries of the square."""
    image = np.rot90(image, pose % 4)
    return np.ascontiguousarray(image[:, ::-1] if pose >= 4 else image)


def _to_tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    """Turns uint8 (H, W, 3) into float32 (3, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255)


def _check_weights(degradations: Mapping[str, Degradation], weights: Mapping[str, float]) -> None:
    """Refuses weights that do not fit the degradations, naming the config key."""
    for label, weight in weights.items():
        if label not in degradations:
            hint = nearest(label, degradations, "mix.weights.") or f"known are {', '.join(degradations)}"
            raise UserError(f"mix.weights.{label}: unknown; {hint}")
        if not (0 <= weight < float("inf")):
            raise UserError(f"mix.weights.{label}: {weight} is not a weight; give 0 or a positive number")
    for label in degradations:
        if label not in weights:
            raise UserError(f"mix.weights.{label}: missing; every degradation needs a weight (0 leaves it out)")
    if not any(weights.values()):
        raise UserError("mix.weights: all are 0; give at least one degradation a positive weight")


def _check_sizes(images: Named, patch: int, *, key: str, which: str) -> None:
    """Refuses a crop size that does not fit into every image."""
    name, smallest = min(images, key=lambda pair: min(pair[1].shape[:2]))
    height, width = smallest.shape[:2]
    if patch > min(height, width):
        raise UserError(
            f"{key}: {patch} is larger than the smallest {which} image ({name}, {width}x{height}); "
            f"the largest patch that fits is {min(height, width)}"
        )
