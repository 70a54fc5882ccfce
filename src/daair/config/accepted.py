"""Accept the values of fixed keys in the forms in which people write them, and refuse others."""

from __future__ import annotations

import re
from typing import Any

from pydantic_core import PydanticCustomError

from daair.config.base import spelled_out


def listed(value: Any) -> Any:
    """Return a list, or a text such as `a,b`, as environment variables hold lists, as a tuple."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.strip("[]").split(",") if part.strip())
    return tuple(value) if isinstance(value, list) else value


def no(value: Any) -> Any:
    """Return false as "no", since YAML 1.1 reads an unquoted `no` as false."""
    return "no" if value is False else value


def by_name(value: Any) -> Any:
    """Return benchmarks, a name, list or mapping, as a mapping; `true` selects one by name, `false` leaves it out."""
    value = [value] if isinstance(value, str) else value
    if isinstance(value, list | tuple) and all(isinstance(name, str | int) for name in value):
        return {str(name): {} for name in value}
    if isinstance(value, dict):
        return {str(name): {} if item is True else item for name, item in value.items() if item is not False}
    if value is not None:
        raise PydanticCustomError("list_type", "must be a list")
    return value


def boxes(value: Any) -> Any:
    """Return lists of squares by name as tuples; a single one `[x, y, side]` stands for a list of one."""
    return {name: _boxes(some) for name, some in value.items()} if isinstance(value, dict) else value


def _boxes(some: Any) -> Any:
    if not isinstance(some, list):
        return some
    several = some if not some or isinstance(some[0], list) else [some]
    return tuple(tuple(box) if isinstance(box, list) else box for box in several)


def studies(value: Any) -> Any:
    """Return a list of studies without repetitions, and a single study as its name."""
    if not isinstance(value, list | tuple):
        return value
    names = tuple(dict.fromkeys(map(spelled_out, value)))
    return names[0] if len(names) == 1 else names


UNITS = {"s": 1, "min": 60, "h": 3600}
"""The units of `train.budget`, in seconds."""


def seconds(time: str) -> float:
    """Return the seconds of a time such as `90s`, `20min` or `1.5h`; 0 for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|h)", time)
    return round(float(found[1]) * UNITS[found[2]], 6) if found else 0.0  # 2.2h: 7920, not 7920.000000000001


def spelled(time: str) -> str:
    """Return a time in the largest unit that gives a whole number: `1200s` is `20min`, and names the same run."""
    total = seconds(time)
    unit = next((unit for unit in ("h", "min") if total % UNITS[unit] == 0), "s")
    return f"{total / UNITS[unit]:.15g}{unit}"


def time_of(value: Any) -> Any:
    """Return a time such as `90s` as `spelled` does; refuse anything else."""
    if not isinstance(value, str) or not seconds(value):
        raise PydanticCustomError("time", "must be a time such as 90s, 20min or 2h")
    return spelled(value)


def figure(value: Any) -> Any:
    """Refuse what is no figure of the validation that `train.best` can follow."""
    if not isinstance(value, str) or not re.fullmatch(r"val/psnr(/.+)?", value):
        raise PydanticCustomError("figure", "must be val/psnr or val/psnr/TASK, such as val/psnr/rain")
    return value


def project(name: str) -> str:
    """Refuse what W&B refuses as the name of a project."""
    if wrong := [mark for mark in "/\\#?%:" if mark in name]:
        raise PydanticCustomError("project", "must not contain " + " ".join(wrong))
    return name
