"""Commands that start warm: real processes, forked from a server that has imported what every training imports.

A command that a test starts is a process of its own, as with `subprocess` (see `daair.launch.warm`). It only does not
import torch again, which is most of what a small training costs. What a test says about the start itself needs
`subprocess`.
"""

import atexit
import functools
import os
import runpy
import sys
import tempfile
import warnings
from pathlib import Path

from daair.launch import warm

IMPORTED = [*warm.IMPORTED, "daair.tasks.study_files", "daair.tasks.restore", "hydra", "accelerate.commands.launch"]


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
        command = functools.partial(_run, arguments, str(cwd))
        self.process = warm.WarmProcess(command, arguments[1:], env, output, IMPORTED)
        atexit.register(self.kill)  # or a test that failed leaves it running

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.poll()

    def poll(self) -> int | None:
        return self.process.poll()

    def wait(self, timeout: float | None = None) -> int:
        if (status := self.process.wait(timeout)) is None:
            raise TimeoutError(f"process {self.pid} works after {timeout} s:\n{self.output.read_text()}")
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        return self.output.read_text(errors="replace"), None

    def terminate(self) -> None:
        self.process.send_signal(15)

    def kill(self) -> None:
        self.process.kill()


def _run(arguments: list[str], cwd: str) -> None:
    os.chdir(cwd)
    sys.path[1:1] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))  # the server has read its own
    if arguments[0] == "-m":
        warnings.filterwarnings("ignore", module="runpy")  # that the server has imported the module already
        sys.argv, sys.path[0] = arguments[1:], cwd
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = arguments, str(Path(arguments[0]).parent)
        runpy.run_path(arguments[0], run_name="__main__")
