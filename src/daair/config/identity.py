"""Which run a config is: what of it makes a trained network what it is, and the folder that follows from it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from daair.config.schema import NOT_IDENTITY, Config
from daair.files import file_digest, safe_name
from daair.runs.store import find_variant


def identity(cfg: Config) -> dict[str, Any]:
    """Return what makes a trained network what it is, apart from the seed: the config without everything else.

    The network's parts, such as its router, count as arguments of `model`. Weights to start from count by their digest.

    Raises:
        UserError: The weights of `train.init` are not there.
    """
    kept = _identity(cfg)
    if cfg.train.init is not None:
        from daair.checkpoint import find_weights  # imports torch

        kept["train"]["init"] = file_digest(find_weights(cfg.train.init, "train.init"))
    for name, keys in NOT_IDENTITY.items():
        kept[name] = {key: value for key, value in kept[name].items() if key not in keys}
    # Where data lie does not count, what their folder is called does: /data/mine/rainy -> rainy.
    for part in ("train", "tasks"):
        if part in kept["mix"]:
            kept["mix"][part] = _without_places(kept["mix"][part])
    if isinstance(tasks := kept["mix"].get("tasks"), dict):  # their order numbers the labels: sorting must not lose it
        kept["mix"]["tasks"] = [[name, task] for name, task in tasks.items()]
    return kept


def config_id(cfg: Config) -> str:
    """Eight hexadecimal digits that name the config: equal for equal `identity`."""
    text = json.dumps(identity(cfg), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_name(cfg: Config) -> str:
    """`<study>/<label>-<config id>/seed<k>`: the folder of a new run, below `paths.runs`; see `run_folder`."""
    label = cfg.label or "-".join(cfg.choices.get(group, "custom") for group in ("model", "mix"))
    return f"{safe_name(cfg.study)}/{safe_name(label)}-{config_id(cfg)}/seed{cfg.seed}"


def run_folder(cfg: Config) -> Path:
    """Return the run's folder: where the study has its config already, under whatever label, else by `run_name`.

    The id alone says which run it is. The label is for reading: it depends on what else a sweep varied when the config
    first came up in the study, and on `label`; neither makes another run of it.
    """
    study, variant, seed = run_name(cfg).split("/")
    known = find_variant(cfg.paths.runs, study, variant.rpartition("-")[2])
    return Path(cfg.paths.runs, study, known or variant, seed)


def _identity(section: BaseModel) -> dict[str, Any]:
    kept = {}
    for name, field in type(section).model_fields.items():
        if (field.json_schema_extra or {}).get("identity", True):
            value = getattr(section, name)
            kept[name] = _identity(value) if isinstance(value, BaseModel) else value
    return kept


def _without_places(value: Any) -> Any:
    """`value` with the last part of each absolute path in it."""
    if isinstance(value, dict):
        return {key: _without_places(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
