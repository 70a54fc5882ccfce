"""A mix: which degradations, from which images, in which proportion."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt, MinLen, MultipleOf

from daair.data import datasets
from daair.data.decoded import Decoded
from daair.data.listing import nearest
from daair.data.order import apportion
from daair.data.pairs import Pairs
from daair.data.samples import TrainDataset, ValDataset
from daair.data.screening import Screen
from daair.data.sources import Named, Source
from daair.data.tasks import Degradation, Paired, Synthetic, Task, hold_out
from daair.errors import UserError

SourceName = Literal["paired", "synthetic", "auto"]
CLEAN = "clean"
"""In `repeats`: the entry of all degradations that are made from clean images."""


class Mix:
    """Images, degradations and their proportions.

    Each degradation is trained on pairs of files, or on clean images that are degraded on the fly. Construction is
    cheap: nothing is looked for before `tasks`, no file is read before `prepare` or the first data set.

    Args:
        train: Sources of the clean images to train on. Their paths are relative to `root`.
        val: Sources of held-out clean images, disjoint from `train`.
        degradations: Functions `(image, rng) -> image` by name; see `daair.data.degradations`. None for what
            only pairs show.
        weights: Factors on the share of each degradation in the samples, by name; 0 leaves it out.
        pairs: Sets of pairs, by name of the degradation.
        source: `paired`, `synthetic`, or `auto`: paired where at least `min_pairs` pairs are there. By name of
            the degradation, or one word for all that have pairs.
        min_pairs: See `source`.
        repeats: How often an epoch visits each image: the pairs of a degradation under its name, clean images under
            `clean`, for each degradation that they are made to show.
        balance: `repeats`: shares follow from the numbers of images and their repeats, as in the papers. `equal`:
            all tasks have the same share; levels of noise are one task. `auto`: `repeats` if every degradation
            that has pairs is trained on them, else `equal`.
        patch: Height and width of training crops in pixels.
        augment: Flip and rotate crops by multiples of 90 degrees, at random.
        val_patch: Height and width of validation crops in pixels.
        val_crops: Validation crops per degradation, spread over the images.
        holdout: Part of the clean images of pairs that is held out for validation, where there is no degradation to
            validate with.
        root: Folder with the data, for sources, pairs and benchmarks that read files.
        cache: Folder for decoded pictures, shared by all runs; None keeps them in memory.
        cache_gb: Gigabytes of decoded pictures to keep; what lies beyond is decoded at each use.
        on_bad_file: `error`, or `skip`: leave out files that cannot be used, and say which.
        benchmarks: Names of the test sets that belong to this mix; see `daair.data.benchmarks`.
        name: Name of the mix, for messages.
    """

    def __init__(
        self,
        *,
        train: Annotated[Sequence[Source], MinLen(1)],
        val: Annotated[Sequence[Source], MinLen(1)],
        degradations: Annotated[Mapping[str, Degradation | None], MinLen(1)],
        weights: Mapping[str, Annotated[float, Ge(0)]],
        pairs: Mapping[str, Pairs] | None = None,
        source: SourceName | Mapping[str, SourceName] = "auto",
        min_pairs: Annotated[int, Ge(1)] = 100,
        repeats: Mapping[str, Annotated[int, Ge(1)]] | None = None,
        balance: Literal["auto", "equal", "repeats"] = "auto",
        patch: Annotated[int, Ge(8)] = 128,
        augment: bool = True,
        val_patch: Annotated[int, Ge(16), MultipleOf(8)] = 128,
        val_crops: Annotated[int, Ge(1)] = 16,
        holdout: Annotated[float, Gt(0), Lt(1)] = 0.05,
        root: str | None = None,
        cache: str | None = None,
        cache_gb: Annotated[float, Ge(0)] = 16.0,
        on_bad_file: Literal["error", "skip"] = "error",
        benchmarks: Sequence[str] = (),
        name: str = "mix",
    ) -> None:
        pairs, repeats = pairs or {}, repeats or {CLEAN: 1}
        for key, given in (("pairs", pairs), ("source", source), ("repeats", repeats), ("weights", weights)):
            if isinstance(given, Mapping):
                _check_names(key, given, [*degradations, CLEAN] if key == "repeats" else degradations)
        _check_weights(degradations, weights)
        for label in pairs.keys() | {CLEAN}:
            if label not in repeats:
                raise UserError(f"mix.repeats.{label}: missing; how often an epoch visits each of its images")
        self.train, self.val = tuple(train), tuple(val)
        self.degradations, self.pairs, self.source = dict(degradations), dict(pairs), source
        self.weights = {label: float(weights[label]) for label in self.degradations}
        self.min_pairs, self.repeats, self.balance = min_pairs, dict(repeats), balance
        self.patch, self.augment, self.val_patch, self.val_crops = patch, augment, val_patch, val_crops
        self.holdout, self.root, self.benchmarks, self.name = holdout, root, tuple(benchmarks), name
        if root is None and any(map(self._must_have_clean, self.active)) and any(s.needs_root for s in self.train):
            raise UserError(f"mix.root: needed by mix={name}; the folder with train/clean and val/clean")
        self.decoded = Decoded(cache, cache_gb * 1e9)
        self.screen = Screen(self.decoded, skip=on_bad_file == "skip")
        self.notes: dict[str, str] = {}  # why pairs that are there are not used
        self._clean_images: Named | None = None
        self._ready: tuple[dict[str, Task], dict[str, Task]] | None = None

    @property
    def labels(self) -> list[str]:
        """Names of the degradations in the order of the config; a sample's label is the position here."""
        return list(self.degradations)

    @property
    def active(self) -> list[str]:
        """Names of the degradations that are trained."""
        return [label for label in self.labels if self.weights[label] > 0]

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """What each active degradation is trained on, as found on this disk; lists folders and opens no file.

        Raises:
            UserError: Something is not there, or a file has no partner.
        """
        if self.root is not None and not Path(self.root).is_dir():
            raise UserError(f"mix.root: {self.root}: no such folder")
        return {label: self._paired(label) or self._synthetic(label) for label in self.active}

    def prepare(self, progress: Callable[[str, int], Any] | None = None) -> None:
        """Decode what was not decoded before, and leaves out or refuses what cannot be used.

        Workers that are forked afterwards share it.

        Args:
            progress: Makes a context manager from a name and a total, whose `advance()` is called that often.

        Raises:
            UserError: Files cannot be used; the text names one and says what to do.
        """
        if self._ready is not None:
            return
        train, val = dict(self.tasks), {}
        held_out = [picture for source in self.val for picture in source.pictures(self.root)]
        for label, task in self.tasks.items():
            degrade = self.degradations[label]
            if degrade is None:
                train[label], val[label] = hold_out(task, self.holdout, f"mix.pairs.{label}")
            else:
                val[label] = Synthetic(degrade, held_out, ", ".join(map(str, self.val)))
        self.screen.decode([*train.values(), *val.values()], progress)
        train = {label: self.screen.usable(task, self.patch, "mix.patch") for label, task in train.items()}
        val = {label: self.screen.usable(task, self.val_patch, "mix.val_patch") for label, task in val.items()}
        self._ready = train, val

    def train_dataset(self, seed: int, views: int = 1) -> TrainDataset:
        """Return the endless training samples of one seed."""
        self.prepare()
        tasks, counts = [self._ready[0].get(label) for label in self.labels], self.samples()
        return TrainDataset(
            tasks, [counts.get(label, 0) for label in self.labels], self.decoded, self.patch, self.augment, seed, views
        )

    def val_dataset(self) -> ValDataset:
        """Return fixed held-out crops: `val_crops` for each active degradation.

        They do not depend on the run's seed, so that runs can be compared.
        """
        self.prepare()
        tasks = [(self.labels.index(label), label, task) for label, task in self._ready[1].items()]
        return ValDataset(tasks, self.decoded, self.val_patch, self.val_crops)

    def samples(self) -> dict[str, int]:
        """Return how many samples an epoch has of each active degradation."""
        self.prepare()
        tasks = self._ready[0]
        natural = {label: len(task) * self.repeats[self._repeat_key(label)] for label, task in tasks.items()}
        if self.balance_used() == "repeats":
            weights = [self.weights[label] * count for label, count in natural.items()]
        else:
            kinds = [_kind(label) for label in tasks]
            weights = [self.weights[label] / kinds.count(_kind(label)) for label in tasks]
        return dict(zip(tasks, apportion(sum(natural.values()), weights), strict=True))

    def balance_used(self) -> str:
        """Return what `balance=auto` comes to: `repeats` or `equal`."""
        if self.balance != "auto":
            return self.balance
        return "repeats" if all(self.tasks[x].source == "paired" for x in self.active if x in self.pairs) else "equal"

    def summary(self) -> dict[str, Any]:
        """Return what is trained on, for the record: sources, numbers, and a digest that tells other files apart."""
        samples, (train, val) = self.samples(), self._ready
        degradations = {
            label: {
                "source": task.source,
                "origin": task.origin,
                "images": len(task),
                "samples": samples[label],
                "digest": self._digest(task),
                "note": self.notes.get(label, ""),
            }
            for label, task in train.items()
        }
        validation = {
            label: {"source": task.source, "origin": task.origin, "images": len(task)} for label, task in val.items()
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
        """Return the clean files that are trained on."""
        clean = (pictures[0] for task in self.tasks.values() for pictures in task.pictures())
        return list(dict.fromkeys(picture for picture in clean if isinstance(picture, Path)))

    def _must_have_clean(self, label: str) -> bool:
        """Whether, without a root, a degradation can only be made from clean images."""
        source = self._source(label)
        return source == "synthetic" or (source == "auto" and self.pairs[label].needs_root)

    def _source(self, label: str) -> str:
        if label not in self.pairs:
            wanted = self.source.get(label) if isinstance(self.source, Mapping) else None
            if wanted == "paired":
                raise UserError(f"mix.pairs.{label}: missing, but mix.source.{label} asks for pairs")
            return "synthetic"
        return self.source.get(label, "auto") if isinstance(self.source, Mapping) else self.source

    def _paired(self, label: str) -> Paired | None:
        """Return the pairs of a degradation, or None if they are not to be used."""
        source, pairs = self._source(label), self.pairs.get(label)
        if source == "synthetic":
            return None
        must = source == "paired" or self.degradations[label] is None
        found = pairs.find(self.root, f"mix.pairs.{label}")
        if found is None:
            if must:
                other = "" if self.degradations[label] is None else f"; mix.source.{label}=synthetic does without"
                raise UserError(f"mix.source.{label}: paired, but {pairs.missing(self.root)}{other}")
            return None
        pairing = found.pairing()
        if not must and len(pairing.pairs) < self.min_pairs:
            self.notes[label] = f"{found.dataset.name} has {len(pairing.pairs)} pairs, fewer than mix.min_pairs"
            return None
        if pairing.lone_inputs:
            self.screen.refuse_lone(pairing.lone_inputs, lambda: datasets.half_a_pair(found, pairing))
        if not pairing.pairs:
            raise UserError(f"mix.pairs.{label}: {found.inputs[0]} and {found.targets[0]} have no pair in common")
        return Paired(pairing.pairs, f"{found.dataset.name} ({found.layout} layout)", tuple(pairing.lone_targets))

    def _synthetic(self, label: str) -> Synthetic:
        degrade = self.degradations[label]
        if degrade is None:
            raise UserError(f"mix.pairs.{label}: missing; mix.degradations.{label} is null, so it can only be paired")
        if self._clean_images is None:
            self._clean_images = [picture for source in self.train for picture in source.pictures(self.root)]
        return Synthetic(degrade, self._clean_images, ", ".join(map(str, self.train)))

    def _repeat_key(self, label: str) -> str:
        return label if self.tasks[label].source == "paired" else CLEAN

    def _digest(self, task: Task) -> str:
        total = hashlib.blake2b(digest_size=8)
        for name, pictures in zip(task.names(), task.pictures(), strict=True):
            total.update(repr((name, *(self.decoded.shape(picture) for picture in pictures))).encode())
        return total.hexdigest()


def _kind(label: str) -> str:
    """Return the task that a label belongs to: noise15, noise25 and noise50 are noise."""
    return label.rstrip("0123456789") or label


def _check_names(key: str, given: Mapping[str, Any], known: Sequence[str] | Mapping[str, Any]) -> None:
    for label in given:
        if label not in known:
            hint = nearest(label, known, f"mix.{key}.") or f"known are {', '.join(known)}"
            raise UserError(f"mix.{key}.{label}: unknown; {hint}")


def _check_weights(degradations: Mapping[str, Any], weights: Mapping[str, float]) -> None:
    """Refuse weights that do not fit the degradations, naming the config key."""
    for label, weight in weights.items():
        if not (0 <= weight < float("inf")):
            raise UserError(f"mix.weights.{label}: {weight} is not a weight; give 0 or a positive number")
    for label in degradations:
        if label not in weights:
            raise UserError(f"mix.weights.{label}: missing; every degradation needs a weight (0 leaves it out)")
    if not any(weights.values()):
        raise UserError("mix.weights: all are 0; give at least one degradation a positive weight")
