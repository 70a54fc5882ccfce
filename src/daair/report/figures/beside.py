"""Share work between two processes: Matplotlib draws in Python, of which one process runs one thread at a time."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import TypeVar

from daair.exits import end_with

Result = TypeVar("Result")

PATIENCE = 120
"""Seconds to wait for the copy, whose work takes a few."""


@contextmanager
def beside(work: Callable[[], Result]) -> Iterator[Callable[[], Result]]:
    """Let a copy of this process do some work meanwhile, and yield the function that waits for its result.

    The copy ends with the `with` block and with this process. Where there should be none, or where it is killed or
    hangs, the function that is yielded does the work itself.

    Args:
        work: What to do; its result or its error must be picklable.
    """
    if not _may_copy():
        yield work
        return
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    copy = context.Process(target=_send, args=(work, sender, os.getpid()))
    try:
        copy.start()
    except OSError:  # there are too many processes, or too little memory
        receiver.close()
        sender.close()
        yield work
        return
    sender.close()  # so that the end of the copy is the end of what it sends

    def result() -> Result:
        answer: list[Result | Exception] = []
        with suppress(EOFError, OSError):  # it was killed, perhaps while it was sending
            if receiver.poll(PATIENCE):
                answer.append(receiver.recv())
        if not answer:
            copy.kill()  # both would write the same files
            copy.join()
            return work()
        (found,) = answer
        if isinstance(found, Exception):
            raise found
        return found

    with receiver:
        try:
            yield result
        finally:
            copy.kill()
            copy.join()


def _may_copy() -> bool:
    """Return whether there is a second core, and no other thread of Python's, whose locks would be held in a copy."""
    return sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1 and threading.active_count() == 1


def _send(work: Callable[[], object], sender: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends its copy
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if end_with(parent, signal.SIGKILL):
        try:
            found = work()
        except Exception as error:
            found = error
        sender.send(found)
