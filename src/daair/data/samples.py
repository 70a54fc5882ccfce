"""What the loader draws: training samples and validation crops.

Everything random about a sample is a function of (seed, epoch, index): no state passes from one sample to the next. So
samples are the same with any number of workers and processes, and after a resume.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from daair.data.decoded import Decoded
from daair.data.keyed import keyed_rng
from daair.data.order import Epochs
from daair.data.tasks import Task, crop

Sample = dict[str, Any]

# The loader is parallel by its workers; OpenCV's own threads would fight them, and do not survive a fork.
cv2.setNumThreads(0)


class TrainDataset(Dataset):
    """Training samples `ds[k]` for any counter `k >= 0`: sample `k % len(ds)` of epoch `k // len(ds)`.

    A sample holds `input` and `target`, float32 (3, patch, patch) in [0, 1]; `label`, the degradation's position
    in `Mix.labels`; and `key`, which is `k`. With two views also `input2` and `target2`: another crop of the same
    image, turned and degraded by random numbers of its own. The first view does not depend on `views`.

    Args:
        tasks: Of each label; None for one that is left out.
        counts: Samples of each label in an epoch.
        decoded: Reads the pictures.
        patch: Height and width of the crops in pixels.
        augment: Flip and rotate crops by multiples of 90 degrees, at random.
        seed: Decides everything random.
        views: Crops of an image in each sample.
    """

    def __init__(
        self,
        tasks: Sequence[Task | None],
        counts: Sequence[int],
        decoded: Decoded,
        patch: int,
        augment: bool,
        seed: int,
        views: int = 1,
    ) -> None:
        self.tasks, self.decoded, self.views = list(tasks), decoded, views
        self.patch, self.augment, self.seed = patch, augment, seed
        self.epochs = Epochs([0 if task is None else len(task) for task in tasks], counts, seed)

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
            degraded, clean = self.tasks[label].draw(which, self.decoded, window, rng)
            suffix = "".join(map(str, number))
            sample |= {f"input{suffix}": to_tensor(degraded), f"target{suffix}": to_tensor(clean)}
        return sample


class ValDataset(Dataset):
    """Fixed crops of held-out images, the same in every run of a mix: a number of them for each degradation.

    A sample has the fields of `TrainDataset` and `name`, such as `noise25/chelsea-0`. Neighbouring samples
    share the degradation. Crop `i` comes from image `i % images`; degradations with the same images share crops.

    Args:
        tasks: Held-out images by position and name of their label.
        decoded: Reads the pictures.
        patch: Height and width of the crops in pixels.
        crops: Crops of each degradation.
    """

    def __init__(self, tasks: Sequence[tuple[int, str, Task]], decoded: Decoded, patch: int, crops: int) -> None:
        self.tasks, self.decoded, self.patch, self.crops = list(tasks), decoded, patch, crops
        self.names = {label: task.names() for _, label, task in tasks}

    def __len__(self) -> int:
        return len(self.tasks) * self.crops

    def __getitem__(self, key: int) -> Sample:
        if not 0 <= key < len(self):
            raise IndexError(f"validation sample {key} of {len(self)}")
        number, index = divmod(int(key), self.crops)
        position, label, task = self.tasks[number]
        name = self.names[label][index % len(task)]
        window = partial(crop, size=self.patch, rng=keyed_rng("val-crop", name, index))
        rng = keyed_rng("val", label, name, index)
        degraded, clean = task.draw(index % len(task), self.decoded, window, rng)
        return {
            "input": to_tensor(degraded),
            "target": to_tensor(clean),
            "label": position,
            "key": int(key),
            "name": f"{label}/{name}-{index // len(task)}",
        }


def to_tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    """Turn uint8 (H, W, 3) into float32 (3, H, W) in [0, 1]."""
    planes = np.empty((3, *image.shape[:2]), np.float32)
    return torch.from_numpy(np.divide(image.transpose(2, 0, 1), np.float32(255), out=planes))
