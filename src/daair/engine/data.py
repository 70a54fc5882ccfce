"""Prepare and describe the training data of a run, and check that they are the same after a resume."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from daair import components
from daair.config.identity import moved
from daair.config.signatures import takes
from daair.data.audit import leaks
from daair.data.audit.findings import relative_to_root
from daair.data.mix import Mix
from daair.engine.progress import Reporter
from daair.errors import UserError, naming_full_keys, with_full_keys
from daair.runs.record import Record

if TYPE_CHECKING:
    from daair.config.schema import Config

SHOWN = 3  # most skipped files whose names are printed
SAME = ("source", "images", "samples", "digest", "bytes")  # of the data of each degradation, after a resume


def prepared_mix(cfg: "Config", reporter: Reporter) -> Mix:
    """Build the mix of a config and prepare its images.

    Raises:
        UserError: The data cannot be used for training; the message names the config key.
    """
    names = takes(components.locate(cfg.mix["_target_"]))
    with naming_full_keys("train", ("progressive",)), naming_full_keys("mix", names):
        mix = components.build(cfg.mix)
        sizes = [phase.patch or mix.patch for phase in cfg.train.progressive]
        mix.prepare(reporter.progress, ("progressive", max(sizes)) if sizes else None)
    return mix


def data_lines(mix: Mix) -> Iterator[str]:
    """Yield a line on the data of each task of a prepared mix, and warnings about skipped files."""
    summary = mix.summary()
    epoch = summary["epoch"]
    for label, data in summary["degradations"].items():
        what = f"{data['images']} pairs of" if data["source"] == "paired" else f"{data['images']} clean images of"
        share = f"{data['samples']} samples an epoch ({data['samples'] / epoch:.1%})"
        note = f" ({with_full_keys(data['note'], 'mix', ('min_pairs', 'tasks'))})" if data["note"] else ""
        held = summary["validation"].get(label)
        kept = "" if data["source"] == "synthetic" else f", {held['images']} held out" if held else ", not validated"
        yield f"data: {label}: {data['source']}, {what} {data['origin']}{note}{kept}; {share}"
    skipped = summary["skipped"]
    for one in skipped[:SHOWN]:
        yield f"warning: left out {one['file']}: {one['why']}"
    if len(skipped) > SHOWN:
        yield f"warning: {len(skipped)} files were left out; data.json in the run's folder lists all"


def check_same_data(record: Record, mix: Mix) -> None:
    """Check that a resumed run was started with the same data.

    Raises:
        UserError: The data differ, for example under another `mix.root`; the message names the differences.
    """
    before = record.data().get("degradations")
    if not before or (record.status().step == 0 and record.status().state != "done"):
        return
    now = mix.summary()["degradations"]
    for label in before | now:
        old, new = before.get(label), now.get(label)
        keys = [key for key in SAME if old is None or key in old]  # earlier versions did not note the bytes
        if old is None or new is None or any(old[key] != new[key] for key in keys):
            raise UserError(
                f"{record.folder} was begun on other data: {label} was {_words(old)}, now it is {_words(new)}; "
                "set mix.root to the former folder, or begin a new run with another study=NAME"
            )


def check_finished(record: Record, cfg: "Config", reporter: Reporter) -> None:
    """Check that a finished run was trained on the data of this config, if these lie elsewhere now and are there.

    Raises:
        UserError: The data differ.
    """
    try:
        if not moved(record.config().get("mix") or {}, cfg.mix):
            return
        mix = prepared_mix(cfg, reporter)
    except UserError:  # a damaged config; or data that are gone, which a finished run does not need
        return
    check_same_data(record, mix)


def _words(data: dict | None) -> str:
    if data is None:
        return "nothing"
    size = f", {data['bytes']:,} bytes" if "bytes" in data else ""
    return f"{data['source']} ({data['images']} images of {data['origin']}{size}, {data['digest']})"


def warn_of_leaks(cfg: "Config", reporter: Reporter, used: Iterable[Path] | None = None) -> None:
    """Warn of scenes of the test and validation sets under `mix.root` that are in the training data; never raise.

    The first run compares at most `daair.data.audit.leaks.MOST_NEW` images; later ones read only new files.

    Args:
        cfg: Config of the training.
        reporter: Prints the warnings.
        used: The clean training images; None = those of all training sets under the root.
    """
    root = cfg.mix.get("root")
    if root is None or not reporter.active:
        return
    try:
        found, unseen = leaks.training_leaks(root, Path(cfg.paths.runs) / leaks.CACHE, used, leaks.MOST_NEW)
    except UserError as error:
        reporter.say(f"warning: cannot look for test scenes among the training pictures: {error}")
        return
    for shared in found:
        file, other = (relative_to_root(path, Path(root)) for path in shared.pairs[0])
        reporter.say(
            f"warning: {shared.scenes} scenes of {shared.second} are in {shared.first} ({file} shows {other}): "
            "results on them are not valid; task=verify lists all"
        )
    if unseen:
        reporter.say(f"{unseen} pictures were not compared with test scenes yet; task=verify compares all")
