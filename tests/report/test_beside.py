"""A copy of the process that works meanwhile: what it returns, and that it never outlives what it works for."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection, wait

import pytest

from daair.errors import UserError
from daair.report.figures.beside import beside

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux are processes copied")


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def test_the_work_is_done_by_another_process_and_its_errors_are_raised_here() -> None:
    with beside(os.getpid) as other:
        assert other() != os.getpid()

    def refuse() -> None:
        raise UserError("crops: not there")

    with beside(refuse) as other, pytest.raises(UserError, match="crops: not there"):
        other()


def test_beside_other_threads_or_on_one_core_there_is_no_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    with beside(os.getpid) as other:
        assert other() == os.getpid()
    end.set()
    thread.join()
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with beside(os.getpid) as other:
        assert other() == os.getpid()


def test_without_room_for_a_copy_the_work_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.get_context("fork").Process, "start", refuse)
    with beside(os.getpid) as other:
        assert other() == os.getpid()


def test_what_a_killed_copy_leaves_undone_is_done_here() -> None:
    here = os.getpid()

    def work() -> int:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    with beside(work) as other:
        assert other() == here


def test_what_a_copy_that_hangs_leaves_undone_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    here = os.getpid()
    monkeypatch.setattr(sys.modules[beside.__module__], "PATIENCE", 0.2)

    def work() -> int:
        if os.getpid() != here:
            time.sleep(60)
        return os.getpid()

    with beside(work) as other:
        assert other() == here


def test_the_copy_ends_with_the_block() -> None:
    start = time.monotonic()
    others = multiprocessing.active_children()
    with pytest.raises(KeyboardInterrupt), beside(lambda: time.sleep(60)):
        (copy,) = (child for child in multiprocessing.active_children() if child not in others)
        raise KeyboardInterrupt
    assert not copy.is_alive() and time.monotonic() - start < 30


def _busy(sender: Connection) -> None:
    with beside(lambda: time.sleep(60)) as other:
        sender.send(multiprocessing.active_children()[0].pid)
        other()


def test_the_copy_ends_with_a_killed_process() -> None:
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_busy, args=(sender,))
    process.start()
    copy = os.pidfd_open(receiver.recv())
    time.sleep(0.2)  # the copy asks for a signal at its parent's death
    process.kill()
    process.join()
    assert wait([copy], timeout=30)  # a process that has ended can be read
    os.close(copy)
