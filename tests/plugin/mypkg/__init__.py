"""Somebody else's parts for the lab."""

from mypkg.parts import ByBrightness, Net, stripes

__all__ = ["ByBrightness", "Net", "stripes"]
