"""The identity of a run: the values of a config that determine the trained network, its id and its folder."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from daair.config.schema import NOT_IDENTITY, VALIDATION, Config
from daair.files import file_digest, safe_name
from daair.runs.store import find_variant

ADDED = {
    "daair.models.nafnet.NAFNet": {"window": None},
    "daair.models.daair_naf.DaAIRNAF": {"window": None, "control": {"update": "none"}},
    "daair.models.daair_naf.MergedExperts": {"where": "all"},
    "daair.models.image_router.ImageRouter": {"teacher_forcing": 1.0},
}
"""Arguments that parts did not always have, by class, with the value that leaves the part as it was."""


PLACED = ("train", "tasks", "val")
"""Keys of `mix` below which paths of data stand."""


def identity(cfg: Config) -> dict[str, Any]:
    """Return the values of a config that determine the trained network, apart from the seed.

    Parts of the network, such as its router, are included as arguments of `model`, and the weights to start from as
    their digest.

    Raises:
        UserError: The weights of `train.init` do not exist.
    """
    kept = _identity(cfg)
    if cfg.train.budget is not None or cfg.train.epochs is not None:
        kept["train"]["steps"] = None  # what a time or epochs come to is found out, not asked
    for name in ("steps", "epochs", "budget"):
        if kept["train"][name] is None:
            del kept["train"][name]
    if not cfg.train.progressive:
        kept["train"].pop("progressive")
    kept["model"] = _without_added(kept["model"])
    if kept["mix"].get("data") is None:
        kept["mix"].pop("data", None)
    if cfg.train.stop_after is None:
        kept["train"].pop("stop_after")
    else:  # the end of the training depends on the validations
        kept["train"] |= {"best": cfg.train.best, "validate_every": cfg.train.validate_every}
    if cfg.train.init is not None:
        from daair.checkpoint import find_weights  # imports torch

        kept["train"]["init"] = file_digest(find_weights(cfg.train.init, "train.init"))
    for name, keys in NOT_IDENTITY.items():
        judges = VALIDATION if name == "mix" and cfg.train.stop_after is not None else ()
        kept[name] = {key: value for key, value in kept[name].items() if key in judges or key not in keys}
    # Of the place of data only the folder's name counts: /data/mine/rainy -> rainy.
    for part in PLACED:
        if part in kept["mix"]:
            kept["mix"][part] = _without_places(kept["mix"][part])
    if isinstance(tasks := kept["mix"].get("tasks"), dict):  # a list keeps their order, which numbers the labels
        kept["mix"]["tasks"] = [[name, _with_order(task)] for name, task in tasks.items()]
    return kept


def moved(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the places of data in which two values of `mix` of one identity differ, both of them by the full key."""
    old, new = _places(before), _places(now)
    return {key: (old[key], new[key]) for key in old if key in new and old[key] != new[key]}


def _places(mix: Mapping[str, Any]) -> dict[str, str]:
    """Return the folder of the data and the absolute paths of training data by their full keys."""
    found: dict[str, str] = {}

    def visit(key: str, value: Any) -> None:
        if isinstance(value, Mapping | list | tuple):
            for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
                visit(f"{key}.{name}", item)
        elif isinstance(value, str) and (key == "mix.root" or Path(value).is_absolute()):
            found[key] = os.path.realpath(value)

    for part in ("root", *PLACED):
        visit(f"mix.{part}", mix.get(part))
    return found


def config_id(cfg: Config) -> str:
    """Return the config id: eight hexadecimal digits, a hash of `identity`."""
    text = json.dumps(identity(cfg), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_name(cfg: Config) -> str:
    """Return the folder of a new run below `paths.runs`, `<study>/<label>-<config id>/seed<k>`; see `run_folder`."""
    label = cfg.label or "-".join(cfg.choices.get(group, "custom") for group in ("model", "mix"))
    return f"{safe_name(cfg.study)}/{safe_name(label)}-{config_id(cfg)}/seed{cfg.seed}"


def run_folder(cfg: Config) -> Path:
    """Return the run's folder: the study's existing folder of this config id, whatever its label, else `run_name`.

    Only the id and the seed identify a run. The label is for readers: it depends on the key `label` and on the keys
    that the study's first sweep of this config varied.
    """
    study, variant, seed = run_name(cfg).split("/")
    known = find_variant(cfg.paths.runs, study, variant.rpartition("-")[2])
    return Path(cfg.paths.runs, study, known or variant, seed)


def _identity(section: BaseModel) -> dict[str, Any]:
    kept = {}
    for name, field in type(section).model_fields.items():
        if (field.json_schema_extra or {}).get("identity", True):
            value = getattr(section, name)
            if isinstance(value, tuple):
                value = [_identity(item) if isinstance(item, BaseModel) else item for item in value]
            kept[name] = _identity(value) if isinstance(value, BaseModel) else value
    return kept


def _without_added(value: Any) -> Any:
    """Return `value` without the keys of `ADDED` that change nothing: runs of earlier versions keep their id."""
    if not isinstance(value, dict):
        return value
    added = ADDED.get(str(value.get("_target_")), {})
    return {key: _without_added(item) for key, item in value.items() if key not in added or not _has(item, added[key])}


def _has(value: Any, part: Any) -> bool:
    """Return whether `value` equals `part`, or has all its items."""
    if isinstance(value, dict) and isinstance(part, dict):
        return all(key in value and value[key] == item for key, item in part.items())
    return value == part


def _with_order(value: Any) -> Any:
    """Return `value` with the steps of a composed degradation as a list, which keeps their order."""
    if not isinstance(value, dict):
        return value
    kept = {key: _with_order(item) for key, item in value.items()}
    return kept | ({"steps": list(kept["steps"].items())} if isinstance(kept.get("steps"), dict) else {})


def _without_places(value: Any) -> Any:
    """Return `value` with each absolute path reduced to its last part."""
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
