"""The exception for errors of users, and helpers for its messages."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can't allocate memory|not enough memory|ALLOC_FAILED|\b(?:OutOf)?MemoryError\b"
)


class UserError(Exception):
    """An error that the user can correct; the message is one line with the problem and its place."""


class Incomparable(UserError):
    """An error for runs whose results do not belong into one table."""


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, after the type's name unless the message is meant for users."""
    lines = str(error).strip().splitlines()
    name = type(error).__name__
    if not lines:
        return name
    return lines[0] if isinstance(error, UserError | KeyboardInterrupt) else f"{name}: {lines[0]}"


def is_out_of_memory(problem: BaseException | str) -> bool:
    """Return whether an error or the text of a log reports that a CPU or GPU is out of memory."""
    text = problem if isinstance(problem, str) else f"{type(problem).__name__}: {problem}"
    return bool(_OUT_OF_MEMORY.search(text))


def one_line(text: object) -> str:
    """Return `text` with every sequence of white space, including line breaks, replaced by one space."""
    return " ".join(str(text).split())


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `word` most likely stands for; None if no candidate resembles it."""
    candidates = sorted(set(candidates))
    if close := similar(word, candidates):
        return close
    starts = [c for c in candidates if c.lower().startswith(word.lower())] if len(word) > 1 else []
    contains = [c for c in candidates if word.lower() in c.lower()] if len(word) > 2 else []
    return next(iter(starts + contains), None)


def suggestion(word: str, candidates: Iterable[str], otherwise: str = "") -> str:
    """Return the end of a message about an unknown word: `; did you mean rain?`, or `otherwise`."""
    near = nearest(word, candidates)
    return f"; did you mean {near}?" if near else otherwise


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its type if the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()


def similar(word: str, candidates: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the candidate spelled most like `word`; None if the similarity of all is below `cutoff`, in [0, 1].

    Of the most similar ones, one that begins with `word` is taken first.
    """
    spellings = {candidate.lower(): candidate for candidate in sorted(candidates, reverse=True)}
    close = difflib.get_close_matches(word.lower(), sorted(spellings), n=3, cutoff=cutoff)
    return spellings[min(close, key=lambda one: not one.startswith(word.lower()))] if close else None


def unknown_name(word: str, known: Iterable[str]) -> str:
    """Return `'rian' is unknown; did you mean rain?`, or the list of known names if none resembles `word`."""
    known = list(known)
    return f"'{word}' is unknown" + suggestion(word, known, f"; known are {', '.join(known)}")


def with_full_keys(text: str, key: str, arguments: Iterable[str]) -> str:
    """Return an error's text with the full config key of each argument that it names.

    A component knows its arguments but not its place in the config. Its errors name an argument at the beginning
    (`patch: 64 is larger than ...`) or with a value (`... with on_bad_file=skip`); both get the prefix `key`.

    Args:
        key: The config key of the component's node, such as `mix`.
        arguments: The names of the component's arguments.
    """
    names = "|".join(map(re.escape, arguments))
    first, with_value = rf"^(?:{names})(?=[.:\[])", rf"(?<![\w./@])(?:{names})(?=(?:\.\w+)*=)"
    return re.sub(f"{first}|{with_value}", rf"{key}.\g<0>", text) if names else text


@contextmanager
def naming_full_keys(key: str, arguments: Iterable[str]) -> Iterator[None]:
    """Raise every `UserError` of the block again with full config keys; see `with_full_keys`."""
    try:
        yield
    except UserError as error:
        raise UserError(with_full_keys(str(error), key, arguments)) from error
