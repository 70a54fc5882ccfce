"""Start processes from a server that has imported what every run imports, so that each starts in a moment.

The imports of a training take five seconds, which is longer than a small run computes. The server imports once and
forks for each run (`multiprocessing`'s fork server, on Linux). It has one thread and has touched no device. A process
that it forks is otherwise like one of `subprocess`: it has its own session, environment, output, signals and exit
status, and ends when its parent does.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path

from daair.launch.parents import die_with_parent, name_as_parent

SERVER = os.getpid()
"""Process id of the server, in a process that it has forked: the server has imported this module."""

IMPORTED = ("daair.launch.processes", "daair.engine.preload")
"""Modules that the server imports before it forks."""

TOKEN = "DAAIR_ATTEMPT"
"""Name of the environment variable with the token of an attempt, 32 characters; its children inherit it."""

COMMAND = "daair"
"""The name that `top` and `pgrep` show for the processes, whose command line is the server's."""

UNNAMED = "-" * 32
"""The server's own token, in whose place each process writes its own."""

if os.environ.get(TOKEN) == UNNAMED:  # this is the server, whose end tells its processes to stop
    die_with_parent()


class WarmProcess:
    """A process that calls a function of an imported module; has what is used here of `subprocess.Popen`.

    Args:
        function: The function; it returns nothing or raises SystemExit with the exit status.
        arguments: What stands in `sys.argv[1:]` while it works.
        environment: All environment variables of the process.
        output: The file to which both of its outputs are appended.
        imported: The modules that the server imports, if this is the first process that it starts.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(
        self,
        function: Callable[[], None],
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: Path,
        imported: Sequence[str] = IMPORTED,
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *imported])  # this module first: it knows that it is in the server
        # The server has one thread, because a process with several cannot be forked safely. It must import from where
        # this process does, which multiprocessing tells only the processes that it forks.
        path = os.pathsep.join(filter(None, sys.path))
        with _variables({"OMP_NUM_THREADS": "1", "PYTHONPATH": path, TOKEN: UNNAMED, **name_as_parent()}):
            forkserver.ensure_running()
        work = (function, list(arguments), dict(environment), os.getcwd(), str(output))
        self._process = context.Process(target=_work, args=work)
        try:
            with _main_hidden():
                self._process.start()
        except (EOFError, ConnectionError) as error:
            raise OSError("the server from which processes are forked has died") from error

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status (-n: ended by signal n) of a process that has ended, None of one that lives."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the end for at most `timeout` seconds, and return the exit status as `poll` does."""
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send signal `number` to the process if it lives."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL to the process if it lives."""
        self.send_signal(signal.SIGKILL)


def available() -> bool:
    """Return whether processes can be forked from a server here: on Linux, whose libraries are made for it."""
    return sys.platform == "linux"


def _work(
    function: Callable[[], None], arguments: list[str], environment: dict[str, str], folder: str, output: str
) -> None:
    atexit._clear()  # what the server would do at its own exit, such as removing W&B's folder that all share
    multiprocessing.set_start_method(None, force=True)  # otherwise loader workers come from a server that imports again
    Path("/proc/self/comm").write_text(COMMAND)
    os.setsid()
    os.chdir(folder)
    _become(environment)
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1) for stream in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv[1:] = arguments
    try:
        function()
    finally:
        atexit._run_exitfuncs()  # a process of `multiprocessing` leaves without


def _become(environment: dict[str, str]) -> None:
    """Take over the environment variables, and the number of threads, which PyTorch has read from the server's."""
    _write_token(environment.get(TOKEN, ""))
    os.environ.clear()
    os.environ.update(environment)
    threads = environment.get("OMP_NUM_THREADS", "")
    if "torch" in sys.modules:  # without the variable a new process has a thread for each core that it may use
        sys.modules["torch"].set_num_threads(int(threads) if threads.isdigit() else len(os.sched_getaffinity(0)))


def _write_token(token: str) -> None:
    """Write the token where the kernel reads it: /proc/PID/environ shows the memory that the server began with."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_void_p
    place = getenv(TOKEN.encode())
    if place and len(token) == len(UNNAMED) == len(ctypes.string_at(place)):
        ctypes.memmove(place, token.encode(), len(token))


@contextlib.contextmanager
def _main_hidden() -> Iterator[None]:
    """Hide the main module, which multiprocessing would import in the process: a script without a guard ran again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables of this process within the block, for the server that it starts there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
