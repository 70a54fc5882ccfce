"""The one exception that users are meant to see, and what its messages are made of."""

import difflib
import re
from collections.abc import Iterable

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED|\b(?:OutOf)?MemoryError\b"
)


class UserError(Exception):
    """Something the user can put right; the message is one line that says what and where."""


def reason(error: BaseException) -> str:
    """Return why something failed, in one line; the type's name stands before what is not meant for users."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    if not lines:
        return name
    return lines[0] if isinstance(error, UserError | KeyboardInterrupt) else f"{name}: {lines[0]}"


def is_out_of_memory(problem: BaseException | str) -> bool:
    """Return whether an error, or what a log says, is that memory ran out on whichever device."""
    text = problem if isinstance(problem, str) else f"{type(problem).__name__}: {problem}"
    return bool(_OUT_OF_MEMORY.search(text))


def one_line(text: object) -> str:
    """`text` with every run of white space, line ends included, as one space."""
    return " ".join(str(text).split())


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `word` was most likely meant to be; none if nothing resembles it."""
    candidates = sorted(set(candidates))
    close = difflib.get_close_matches(word.lower(), [c.lower() for c in candidates], n=1, cutoff=0.6)
    if close:
        return next(c for c in candidates if c.lower() == close[0])
    starts = [c for c in candidates if c.lower().startswith(word.lower())] if len(word) > 1 else []
    contains = [c for c in candidates if word.lower() in c.lower()] if len(word) > 2 else []
    return next(iter(starts + contains), None)
