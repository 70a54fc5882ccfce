"""The one exception that users are meant to see, and what its messages are made of."""

import difflib
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

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
    """Return the first line of what an error says; the name of its type if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()


def similar(word: str, candidates: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the candidate that is spelled most like `word`; none if all are less similar than `cutoff`, in [0, 1]."""
    spellings = {candidate.lower(): candidate for candidate in sorted(candidates, reverse=True)}
    close = difflib.get_close_matches(word.lower(), sorted(spellings), n=1, cutoff=cutoff)
    return spellings[close[0]] if close else None


def unknown_name(word: str, known: Iterable[str]) -> str:
    """Return `'rian' is unknown; did you mean rain?`; where nothing resembles the word, all known ones are listed."""
    known = list(known)
    return f"'{word}' is unknown" + suggestion(word, known, f"; known are {', '.join(known)}")


def with_full_keys(text: str, key: str, arguments: Iterable[str]) -> str:
    """Return an error's text with the full config key of each argument that it names.

    What a config node builds knows its arguments and not where in the config it stands. So its errors name an argument
    at their beginning (`patch: 64 is larger than ...`, `tasks.rain.pairs: missing`) or with a value (`..., or leave
    out what cannot be used with on_bad_file=skip`); the key of the node is put in front of both.

    Args:
        text: The error's text.
        key: Config key of the node, such as `mix`.
        arguments: Names of the arguments of what it builds.
    """
    names = "|".join(map(re.escape, arguments))
    first, with_value = rf"^(?:{names})(?=[.:\[])", rf"(?<![\w./@])(?:{names})(?=(?:\.\w+)*=)"
    return re.sub(f"{first}|{with_value}", rf"{key}.\g<0>", text) if names else text


@contextmanager
def naming_full_keys(key: str, arguments: Iterable[str]) -> Iterator[None]:
    """Let user errors that the block raises name full config keys; see `with_full_keys`.

    Raises:
        UserError: The error, with full keys.
    """
    try:
        yield
    except UserError as error:
        raise UserError(with_full_keys(str(error), key, arguments)) from error
