"""Types that all parts of the config's schema share."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict

from daair.metrics import METRICS


def spelled_out(value: Any) -> Any:
    """Return a number as text: `study=2024` is a name, but YAML reads a number."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def whole(value: Any) -> Any:
    """Return a whole number as an integer: `train.steps=1e3` is 1000."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Text = Annotated[str, BeforeValidator(spelled_out), MinLen(1)]
Int = Annotated[int, BeforeValidator(whole)]
Positive = Annotated[Int, Ge(1)]
Node = dict[str, Any]
ShownMetric = Literal[tuple(METRICS)]


class Section(BaseModel):
    """A part of the config with fixed keys: strictly typed, immutable, without further keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
