"""The data sets of the loaders: training samples and validation crops.

A training sample is a function of (seed, epoch, index), and no state passes from one sample to the next. Samples are
thus the same with any number of workers and processes, and after a resume.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from daair.data.decoded import Decoded
from daair.data.keyed import keyed_rng
from daair.data.order import Epochs
from daair.data.task_images import TaskImages
from daair.pixels import Image

Sample = dict[str, Any]

# OpenCV's own threads would compete with the loader's workers, and they do not survive a fork.
cv2.setNumThreads(0)


class TrainDataset(Dataset):
    """Training samples `dataset[k]` for any counter `k >= 0`: sample `k % len(dataset)` of epoch `k // len(dataset)`.

    A sample holds `input` and `target`, float32 (3, patch, patch) in [0, 1], which noise that is not clipped exceeds;
    `label`, the task's position in `Mix.labels`; and `key`, which is `k`. With two views it also holds `input2` and
    `target2`: another random crop of the same image, augmented and degraded independently. The first view does not
    depend on `views`.

    Args:
        images: Images of each label; None for a task that is not trained.
        counts: Number of samples of each label in an epoch.
        decoded: Cache that reads the images.
        patch: Height and width of the crops in pixels.
        augment: Whether to flip and rotate crops by multiples of 90 degrees at random.
        seed: Seed of all random choices.
        views: Number of crops of an image in each sample.
    """

    def __init__(
        self,
        images: Sequence[TaskImages | None],
        counts: Sequence[int],
        decoded: Decoded,
        patch: int,
        augment: bool,
        seed: int,
        views: int = 1,
    ) -> None:
        self.images, self.decoded, self.patch, self.augment = list(images), decoded, patch, augment
        self.seed, self.views = seed, views
        self.epochs = Epochs([0 if one is None else len(one) for one in images], counts, seed)

    def __len__(self) -> int:
        return len(self.epochs)

    def __getitem__(self, key: int) -> Sample:
        if key < 0:
            raise IndexError(f"sample {key}: counters start at 0")
        epoch, index = divmod(int(key), len(self))
        label, which = self.epochs.at(epoch, index)
        sample: Sample = {"label": label, "key": int(key)}
        for view in range(1, self.views + 1):
            number = () if view == 1 else (view,)
            rng = keyed_rng("train", self.seed, epoch, index, *number)
            window = partial(crop, size=self.patch, rng=rng, augment=self.augment)
            degraded, clean = self.images[label].draw(which, self.decoded, window, rng)
            suffix = "".join(map(str, number))
            sample |= {f"input{suffix}": to_tensor(degraded), f"target{suffix}": to_tensor(clean)}
        return sample


class ValDataset(Dataset):
    """Fixed crops of held-out images, which are the same in every run of a mix.

    A sample has the fields of `TrainDataset` and `name`, such as `noise25/chelsea-0`. The samples of a task follow each
    other. Crop `i` of a task comes from its image `i % len(images)`. Tasks with the same images have the same crops.

    Args:
        images: The position of the label, its name, and the held-out images, for each task.
        decoded, patch: As for `TrainDataset`.
        crops: Number of crops of each task.
    """

    def __init__(self, images: Sequence[tuple[int, str, TaskImages]], decoded: Decoded, patch: int, crops: int) -> None:
        self.images, self.decoded, self.patch, self.crops = list(images), decoded, patch, crops

    def __len__(self) -> int:
        return len(self.images) * self.crops

    def __getitem__(self, key: int) -> Sample:
        if not 0 <= key < len(self):
            raise IndexError(f"validation sample {key} of {len(self)}")
        number, index = divmod(int(key), self.crops)
        position, label, images = self.images[number]
        count = len(images)
        which = index * count // self.crops if count > self.crops else index % count  # neighbours may share a scene
        name = images.names[which]
        window = partial(crop, size=self.patch, rng=keyed_rng("val-crop", name, index))
        rng = keyed_rng("val", label, name, index)
        degraded, clean = images.draw(which, self.decoded, window, rng)
        return {
            "input": to_tensor(degraded),
            "target": to_tensor(clean),
            "label": position,
            "key": int(key),
            "name": f"{label}/{name}-{index // count}",
        }


def crop(images: Sequence[Image], *, size: int, rng: np.random.Generator, augment: bool = False) -> list[Image]:
    """Crop the same random (size, size, 3) window from images of one size.

    Args:
        images: Images, uint8 or float32, (H, W, 3) each.
        size: Height and width of the window in pixels.
        rng: Random generator.
        augment: Whether to apply one of the 8 symmetries of the square, the same to all windows.
    """
    height, width = images[0].shape[:2]
    top, left = int(rng.integers(height - size + 1)), int(rng.integers(width - size + 1))
    windows = [image[top : top + size, left : left + size] for image in images]
    if augment:
        pose = int(rng.integers(8))
        windows = [turn(window, pose) for window in windows]
    return windows


def turn(image: Image, pose: int) -> Image:
    """Apply one of the 8 symmetries of the square: `pose % 4` quarter turns, then a mirroring if `pose >= 4`."""
    if pose % 4:
        image = cv2.rotate(image, _QUARTERS[pose % 4])
    return cv2.flip(image, 1) if pose >= 4 else image


_QUARTERS = {1: cv2.ROTATE_90_COUNTERCLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_CLOCKWISE}


def to_tensor(image: Image) -> torch.Tensor:
    """Convert uint8, or floating point with white at 1, (H, W, 3) to float32 (3, H, W) with white at 1."""
    planes = np.empty((3, *image.shape[:2]), np.float32)
    white = np.float32(255 if image.dtype == np.uint8 else 1)
    return torch.from_numpy(np.divide(image.transpose(2, 0, 1), white, out=planes))
