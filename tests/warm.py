"""Processes that start warm: real ones, forked from a server that has imported what every training imports.

A command that a test starts is a process of its own, as with `subprocess`: its own session, directory, environment,
signals, exit status. It only does not import torch again, which is most of what a small training costs (five seconds of
six). What a test says about the start itself needs `subprocess`.
"""

import atexit
import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
from pathlib import Path

IMPORTED = [
    "daair.engine.train",
    "torch._dynamo",  # by the first optimizer, a second for each process
    "daair.tasks.collate",
    "daair.tasks.restore",
    "hydra",
    "accelerate.commands.launch",
]


class Warm:
    """`python ARGUMENTS`, started; has what tests use of `subprocess.Popen`.

    Args:
        arguments: of the interpreter: a script, or `-m` and a module, and what it is to be called with.
        cwd: its directory.
        env: its environment.
        output: file for both of its outputs; None = a temporary one, which `communicate` returns.
    """

    def __init__(self, arguments: list[str], cwd: Path, env: dict[str, str], output: Path | None = None) -> None:
        if output is None:
            handle, name = tempfile.mkstemp(prefix="output", suffix=".txt")
            os.close(handle)
            output = Path(name)
            atexit.register(output.unlink)
        self.output = output
        self.process = _context().Process(target=_child, args=(arguments, str(cwd), env, str(output)))
        self.process.start()
        atexit.register(self.kill)  # or a test that failed leaves it running

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise TimeoutError(f"process {self.pid} works after {timeout} s:\n{self.output.read_text()}")
        return self.process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        return self.output.read_text(errors="replace"), None

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()


def _context() -> multiprocessing.context.BaseContext:
    context = multiprocessing.get_context("forkserver")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the server, which must have one thread when it forks
    context.set_forkserver_preload(IMPORTED)
    return context


def _child(arguments: list[str], cwd: str, env: dict[str, str], output: str) -> None:
    atexit._clear()  # the server's are not its own: one removes W&B's folder for pictures, which all share
    multiprocessing.set_start_method("fork", force=True)  # of its own children, as in a process that was not forked
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1) for stream in (1, 2))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[1:1] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))  # the server has read its own
    try:
        if arguments[0] == "-m":
            sys.argv, sys.path[0] = arguments[1:], cwd
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).parent)
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # a process of `multiprocessing` leaves without
