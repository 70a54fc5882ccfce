"""The one exception that users are meant to see, and what its messages are made of."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right; the message is one line that says what and where."""


def reason(error: BaseException) -> str:
    """Return why something failed, in one line; the type's name stands before what is not meant for users."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    if not lines:
        return name
    return lines[0] if isinstance(error, UserError | KeyboardInterrupt) else f"{name}: {lines[0]}"


def one_line(text: object) -> str:
    """`text` with every run of white space, line ends included, as one space."""
    return " ".join(str(text).split())


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `word` was most likely meant to be; none if nothing resembles it."""
    candidates = sorted(set(candidates))
    if close := similar(word, candidates):
        return close
    starts = [c for c in candidates if c.lower().startswith(word.lower())] if len(word) > 1 else []
    contains = [c for c in candidates if word.lower() in c.lower()] if len(word) > 2 else []
    return next(iter(starts + contains), None)


def similar(word: str, candidates: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the candidate that is spelled most like `word`; none if all are less similar than `cutoff`, in [0, 1]."""
    spellings = {candidate.lower(): candidate for candidate in sorted(candidates, reverse=True)}
    close = difflib.get_close_matches(word.lower(), sorted(spellings), n=1, cutoff=cutoff)
    return spellings[close[0]] if close else None
