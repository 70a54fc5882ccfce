"""Mixes: the tasks of a training with their images and their proportions."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt, MinLen, MultipleOf

from daair.data.catalogue import OTHER_FORMS
from daair.data.datasets import half_a_pair, locate_dataset
from daair.data.decoded import Decoded
from daair.data.listing import check_folder
from daair.data.order import apportion
from daair.data.samples import TrainDataset, ValDataset
from daair.data.screening import Screen
from daair.data.sources import Folder, ImageSource
from daair.data.task_images import TaskImages, hold_out
from daair.data.tasks import MixTask, TaskSource
from daair.errors import UserError, naming_full_keys


class Mix:
    """A mix of tasks.

    Each task is trained on pairs of files, or on clean images that are degraded on the fly. Construction is cheap: the
    first access to `images` lists the folders, and `prepare` or the first data set reads the files.

    Args:
        tasks: Tasks by name, as `MixTask` or as its arguments. A sample's label is its task's position here.
        train: Sources of the clean training images; their paths are relative to `root`.
        val: Sources of the clean validation images, disjoint from `train`.
        source: Default for tasks that have pairs: `paired`, `synthetic`, or `auto`, which means `paired` if at least
            `min_pairs` pairs are found and `synthetic` otherwise.
        min_pairs: Smallest number of pairs that `source=auto` uses.
        synthetic_repeats: Number of times that an epoch visits each clean image, for each synthetic task.
        balance: `repeats` makes shares proportional to the numbers of images and their repeats, as in the papers.
            `equal` gives all tasks the same share and counts all noise levels as one task. `auto` means `repeats` if
            every task that has pairs is trained on them, else `equal`.
        patch: Height and width of training crops in pixels.
        augment: Whether to flip and rotate crops by multiples of 90 degrees at random.
        val_patch: Height and width of validation crops in pixels.
        val_crops: Number of validation crops of each task.
        holdout: Fraction of the scenes of a task's pairs that is held out to validate it. With 0 all are trained on,
            and such a task is not validated.
        root: Folder with the data, for sources, pairs and benchmarks that read files.
        cache: Folder for decoded images, shared by all runs; None keeps them in memory.
        cache_gb: Gigabytes of decoded images to keep; further images are decoded at each use.
        on_bad_file: `error` refuses unusable files; `skip` leaves them out and reports them.
        benchmarks: Names of the test sets that belong to this mix; see `daair.data.benchmarks`.
        name: Name of the mix for messages.
        data: Name of what is below `root`, as a part of a run's identity, in which `root` itself is none; a sweep over
            `root` sets it.
    """

    def __init__(
        self,
        *,
        tasks: Annotated[Mapping[str, MixTask], MinLen(1)],
        train: Annotated[Sequence[ImageSource], MinLen(1)],
        val: Annotated[Sequence[ImageSource], MinLen(1)],
        source: TaskSource = "auto",
        min_pairs: Annotated[int, Ge(1)] = 100,
        synthetic_repeats: Annotated[int, Ge(1), Le(10**6)] = 1,
        balance: Literal["auto", "equal", "repeats"] = "auto",
        patch: Annotated[int, Ge(8)] = 128,
        augment: bool = True,
        val_patch: Annotated[int, Ge(16), MultipleOf(8)] = 128,
        val_crops: Annotated[int, Ge(1), Le(10**5)] = 16,
        holdout: Annotated[float, Ge(0), Lt(1)] = 0.05,
        root: str | None = None,
        cache: str | None = None,
        cache_gb: Annotated[float, Ge(0)] = 16.0,
        on_bad_file: Literal["error", "skip"] = "error",
        benchmarks: Sequence[str] = (),
        name: str = "mix",
        data: str | None = None,
    ) -> None:
        self.tasks = {label: _task(label, task) for label, task in tasks.items()}
        self.train, self.val, self.source, self.min_pairs = tuple(train), tuple(val), source, min_pairs
        self.synthetic_repeats, self.balance, self.holdout = synthetic_repeats, balance, holdout
        self.patch, self.augment, self.val_patch, self.val_crops = patch, augment, val_patch, val_crops
        self.root, self.benchmarks, self.name = root, tuple(benchmarks), name
        if not self.active:
            raise UserError("tasks: all have weight 0; give at least one a positive weight")
        if root == "":
            raise UserError("root: must not be empty")
        needy = [source for source in self.train if source.needs_root]
        if root is None and any(map(self._needs_clean, self.active)) and needy:
            what = "the folder with train/clean and val/clean"
            if isinstance(needy[0], Folder):
                what = f"{needy[0]} is relative to it"
            raise UserError(f"root: needed by mix={name}; {what}")
        self.decoded = Decoded(cache, cache_gb * 1e9)
        self.screen = Screen(self.decoded, skip=on_bad_file == "skip")
        self._scenes: dict[str, str | None] = {}  # how the names of paired clean images tell their scenes
        self._notes: dict[str, str] = {}  # by label: the reason why existing pairs are not used
        self._ready: tuple[dict[str, TaskImages], dict[str, TaskImages]] | None = None

    @property
    def labels(self) -> list[str]:
        """Names of all tasks; a sample's label is a position in this list."""
        return list(self.tasks)

    @property
    def active(self) -> list[str]:
        """Names of the tasks that are trained: those with a positive weight."""
        return [label for label, task in self.tasks.items() if task.weight > 0]

    @cached_property
    def images(self) -> dict[str, TaskImages]:
        """Images of each active task by name; the first access lists the folders and opens no file.

        Raises:
            UserError: A folder is missing or empty, or an input has no target.
        """
        if self.root is not None:
            check_folder(self.root, "root: ")
        return {label: self._paired(label) or self._synthetic(label) for label in self.active}

    def prepare(
        self, progress: Callable[[str, int], Any] | None = None, largest: tuple[str, int] | None = None
    ) -> None:
        """Decode all files that are not in the cache yet, and leave out or refuse the unusable ones.

        Workers that are forked afterwards share the decoded images. Further calls do nothing.

        Args:
            progress: Returns a context manager, given a name and a total; its `advance()` is called `total` times.
            largest: Name, for messages, and side in pixels of the largest training crops; None for those of `patch`.

        Raises:
            UserError: A file is unusable and `on_bad_file` is `error`, or a task has no usable image.
        """
        if self._ready is not None:
            return
        train, val = dict(self.images), {}
        side = largest or ("patch", self.patch)
        synthetic = any(images.source == "synthetic" for images in self.images.values())
        held_out = _clean_images(self.val, self.root) if synthetic else None
        for label, images in self.images.items():
            if images.source == "synthetic":
                val[label] = replace(held_out, degrade=images.degrade)
            elif self.holdout:
                try:
                    train[label], val[label] = hold_out(images, self.holdout, self._scenes[label])
                except UserError as error:
                    raise UserError(f"tasks.{label}.pairs: {error}") from None
        if not val:
            raise UserError(
                "holdout: 0 leaves nothing to validate on, as all tasks are trained on pairs; give holdout=0.05"
            )
        for images in train.values():
            self.screen.look_ahead(images, *side)
        self.screen.note_foreign([*train.values(), *val.values()])
        epoch = self._share_out(train)
        visits = [(images, epoch[label] / len(images)) for label, images in train.items()]
        self.screen.decode([*visits, *((images, 1.0) for images in val.values())], progress)
        train = {label: self.screen.usable(images, *side) for label, images in train.items()}
        val = {label: self.screen.usable(images, "val_patch", self.val_patch) for label, images in val.items()}
        self._ready = train, val

    def train_dataset(self, seed: int, views: int = 1, patch: int | None = None) -> TrainDataset:
        """Return the endless training samples of one seed, with `views` crops of an image in each sample.

        See `TrainDataset` for the fields of a sample. `patch` is the side of the crops, None for that of the mix.
        """
        self.prepare()
        images, counts = [self._ready[0].get(label) for label in self.labels], self.samples()
        counts = [counts.get(label, 0) for label in self.labels]
        return TrainDataset(images, counts, self.decoded, patch or self.patch, self.augment, seed, views)

    def val_dataset(self) -> ValDataset:
        """Return the validation crops: `val_crops` of each active task with held-out images, the same for all seeds."""
        self.prepare()
        images = [(self.labels.index(label), label, images) for label, images in self._ready[1].items()]
        return ValDataset(images, self.decoded, self.val_patch, self.val_crops)

    def samples(self) -> dict[str, int]:
        """Return the number of samples of each active task in an epoch."""
        self.prepare()
        return self._share_out(self._ready[0])

    def _share_out(self, images: Mapping[str, TaskImages]) -> dict[str, int]:
        """Return the number of samples in an epoch of each task, given its images."""
        natural = {label: len(images[label]) * self._repeats(label) for label in images}
        if self.balance_used() == "repeats":
            weights = [self.tasks[label].weight * count for label, count in natural.items()]
        else:
            kinds = [kind(label) for label in images]
            weights = [self.tasks[label].weight / kinds.count(kind(label)) for label in images]
        return dict(zip(images, apportion(sum(natural.values()), weights), strict=True))

    def balance_used(self) -> str:
        """Return the balance in use, `repeats` or `equal`, with `auto` resolved."""
        if self.balance != "auto":
            return self.balance
        paired = (self.images[label].source == "paired" for label in self.active if self.tasks[label].pairs is not None)
        return "repeats" if all(paired) else "equal"

    def summary(self) -> dict[str, Any]:
        """Return the sources, numbers of images and digests of the training data, for the run's record."""
        samples, (train, val) = self.samples(), self._ready
        degradations = {
            label: {
                "source": images.source,
                "origin": images.origin,
                "images": len(images),
                "samples": samples[label],
                "digest": self._digest(images),
                "bytes": images.bytes,
                "note": self._notes.get(label, ""),
            }
            for label, images in train.items()
        }
        validation = {
            label: {"source": images.source, "origin": images.origin, "images": len(images)}
            for label, images in val.items()
        }
        counted = [(label, data["source"], data["samples"], data["digest"]) for label, data in degradations.items()]
        return {
            "digest": hashlib.blake2b(repr(counted).encode(), digest_size=8).hexdigest(),
            "epoch": sum(samples.values()),
            "balance": self.balance_used(),
            "degradations": degradations,
            "validation": validation,
            "skipped": [{"file": str(file), "why": why} for file, why in self.screen.skipped.items()],
        }

    def clean_files(self) -> list[Path]:
        """Return the clean files of all active tasks, each once."""
        clean = (pictures[0] for images in self.images.values() for pictures in images.pictures)
        return list(dict.fromkeys(picture for picture in clean if isinstance(picture, Path)))

    @cached_property
    def _clean(self) -> TaskImages:
        return _clean_images(self.train, self.root)

    def _source(self, label: str) -> TaskSource:
        task = self.tasks[label]
        return "synthetic" if task.pairs is None else task.source or self.source

    def _needs_clean(self, label: str) -> bool:
        """Return whether a task needs clean images if there is no root."""
        source, task = self._source(label), self.tasks[label]
        return source == "synthetic" or (source == "auto" and task.degrade is not None and task.pairs.needs_root)

    def _paired(self, label: str) -> TaskImages | None:
        """Return the pairs of a task, or None if it is synthetic."""
        task, source = self.tasks[label], self._source(label)
        if source == "synthetic":
            return None
        must = source == "paired" or task.degrade is None
        with naming_full_keys(f"tasks.{label}.pairs", ("input", "target")):
            found = task.pairs.find(self.root)
        if found is None:
            if must:
                otherwise = "" if task.degrade is None else f"; tasks.{label}.source=synthetic needs no pairs"
                raise UserError(f"tasks.{label}.source: paired, but {task.pairs.missing(self.root)}{otherwise}")
            self._note_other_form(label)
            return None
        pairing = found.pairing()
        if not must and len(pairing.pairs) < self.min_pairs:
            count = len(pairing.pairs)
            self._notes[label] = f"{found.dataset.name} has {count} pairs, fewer than min_pairs={self.min_pairs}"
            return None
        if pairing.lone_inputs:
            self.screen.refuse_lone(pairing.lone_inputs, lambda: half_a_pair(found, pairing))
        if not pairing.pairs:
            raise UserError(f"tasks.{label}.pairs: {found.inputs[0]} and {found.targets[0]} have no pair in common")
        self._scenes[label] = found.dataset.scene
        names, files = [pair.name for pair in pairing.pairs], [(pair.target, pair.input) for pair in pairing.pairs]
        return TaskImages(names, files, f"{found.dataset.name} ({found.place.layout} layout)")

    def _note_other_form(self, label: str) -> None:
        """Note that the missing pairs of a task are there in another form, such as GoPro's crops."""
        name = getattr(self.tasks[label].pairs, "name", "")
        if self.root is not None and name in OTHER_FORMS and locate_dataset(OTHER_FORMS[name], self.root):
            self._notes[label] = f"there is no {name}; for {OTHER_FORMS[name]}: tasks.{label}.pairs={OTHER_FORMS[name]}"

    def _synthetic(self, label: str) -> TaskImages:
        degrade = self.tasks[label].degrade
        if degrade is None:
            raise UserError(f"tasks.{label}.source: synthetic, but tasks.{label}.degrade=null; only pairs can train it")
        return replace(self._clean, degrade=degrade)

    def _repeats(self, label: str) -> int:
        """Return the number of times that an epoch visits each image of a task."""
        task, paired = self.tasks[label], self.images[label].source == "paired"
        own = task.repeats if paired or task.pairs is None else None
        return own or (1 if paired else self.synthetic_repeats)

    def _digest(self, images: TaskImages) -> str:
        total = hashlib.blake2b(digest_size=8)
        for name, pictures in zip(images.names, images.pictures, strict=True):
            total.update(repr((name, *(self.decoded.shape(picture) for picture in pictures))).encode())
        return total.hexdigest()


def _task(label: str, task: MixTask | Mapping[str, Any]) -> MixTask:
    with naming_full_keys(f"tasks.{label}", MixTask.__dataclass_fields__):
        return task if isinstance(task, MixTask) else MixTask(**task)


def _clean_images(sources: Sequence[ImageSource], root: str | None) -> TaskImages:
    named = [image for source in sources for image in source.pictures(root)]
    pictures = [(picture,) for _, picture in named]
    return TaskImages([name for name, _ in named], pictures, ", ".join(map(str, sources)))


def label_in(label: str | None, labels: Sequence[str]) -> str | None:
    """Return that of `labels` which an image's label has: itself, else its kind; None if there is neither."""
    return next((one for one in (label, kind(label or "")) if one in labels), None)


def kind(label: str) -> str:
    """Return `noise` for `noise15`, `noise25` and `noise50`, another label as it is."""
    return re.sub(r"^noise\d+$", "noise", label)
