"""Give the program bad inputs, and see whether each is answered by a line that helps, and changes nothing.

    .venv/bin/python experiments/reliability/bad_inputs.py [WORD]    all of bad_inputs.txt, or the lines that have WORD

bad_inputs.txt lists the inputs, one a line below the name of their kind: commands as they are typed, with variables of
the environment before them, and calls from Python. DIR is a prepared folder (bad_inputs_folder.py), in which every
input is given, and RUN a finished run of one update in it. Each input gets a process of its own, forked from one that
has imported what the program imports, and has a row in bad_inputs.csv:

    status       exit status; of a call from Python, 1 = a `UserError`, 2 = any other error
    answer       the last line that was printed, with DIR, RUN and REPO in place of this machine's folders, and VARIANT
                 in place of the run's folder in its study
    seconds      of CPU, after the imports
    lines        number of lines that were printed
    traceback    whether any was shown
    altered      what differs in DIR afterwards, by names, sizes and digests; `no` if nothing does. Caches are
                 not counted: decoded images (runs/.cache), filled while images are checked, and compiled modules

With WORD the other rows stay as they are. The exit status is 1 if an input was answered with a status other than 1, by
a traceback or not within LIMIT, or altered anything.
"""

from __future__ import annotations

import ast
import csv
import functools
import hashlib
import multiprocessing
import os
import resource
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import traceback
from dataclasses import astuple, dataclass, fields, replace
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(HERE)]

import warm  # noqa: E402
from bad_inputs_folder import TRAINED, prepare  # noqa: E402

from daair.launch import warm as forked  # noqa: E402

INPUTS = HERE / "bad_inputs.txt"
ROWS = HERE / "bad_inputs.csv"
LIMIT = 60.0  # seconds after which an input hangs
CACHES = {".cache", "__pycache__"}  # decoded images in the folder of runs, compiled modules: may be there or not
KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV")
FIXED = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "COLUMNS": "200", "WANDB_MODE": "disabled"}


@dataclass(frozen=True)
class Input:
    """A line of bad_inputs.txt: its number, the name of its kind, and what is typed."""

    number: int
    kind: str
    typed: str


@dataclass(frozen=True)
class Row:
    """What became of an input; a row of bad_inputs.csv."""

    number: int
    kind: str
    typed: str
    status: str
    answer: str
    seconds: float
    lines: int
    traceback: str
    altered: str


def read_inputs() -> list[Input]:
    """Return the inputs that bad_inputs.txt lists."""
    inputs, kind = [], ""
    for line in filter(None, map(str.strip, INPUTS.read_text(encoding="utf-8").splitlines())):
        if line.startswith("## "):
            kind = line.removeprefix("## ")
        elif not line.startswith("#"):
            inputs.append(Input(len(inputs) + 1, kind, line))
    return inputs


def command(typed: str, folder: Path, run: str) -> tuple[list[str], dict[str, str]]:
    """Return the arguments of the interpreter and the environment for what is typed in the prepared folder."""
    env = {name: os.environ[name] for name in KEPT if name in os.environ}
    env |= FIXED | {"HOME": str(folder / "home"), "PYTHONPATH": str(ROOT / "src")}
    values = {"DIR": str(folder), "RUN": run, "VARIANT": Path(run).parent.name, "TRAIN": shlex.join(TRAINED)}
    for name, value in values.items():
        typed = typed.replace(f"{{{name}}}", value)
    if typed.startswith(">>> "):
        return [str(Path(__file__).resolve()), "--call", typed.removeprefix(">>> ")], env
    words = shlex.split(typed)
    start = words.index("python")
    env |= dict(word.split("=", 1) for word in words[:start])
    rest = words[start + 1 :]
    return rest if rest[0] == "-m" else [str(ROOT / "run.py"), *rest[1:]], env


def call(typed: str) -> int:
    """Evaluate a call from Python; print the error of a user in one line, and any other with its traceback."""
    import daair
    from daair.errors import UserError

    try:
        names = {"daair": daair, "torch": import_module("torch"), "np": import_module("numpy")}
        print(eval(compile(ast.parse(typed, mode="eval"), "<typed>", "eval"), names))
    except UserError as error:
        print(f"UserError: {error}")
        return 1
    except Exception:
        traceback.print_exc()
        return 2
    return 0


def listing(folder: Path) -> dict[str, tuple]:
    """Return kind, size and digest of everything below a folder, but for caches."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if CACHES & set(path.relative_to(folder).parts):
            continue
        about = path.lstat()
        kind, content = stat.S_IFMT(about.st_mode), ""
        if stat.S_ISREG(about.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(about.st_mode):
            content = os.readlink(path)
        found[str(path.relative_to(folder))] = (kind, about.st_size if content else 0, content)
    return found


def difference(before: dict[str, tuple], after: dict[str, tuple]) -> str:
    """Return the names that are new, gone or changed; `no` if there are none."""
    names = sorted(name for name in before | after if before.get(name) != after.get(name))
    return "; ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") if names else "no"


def shown(output: str, folder: Path, run: str) -> str:
    """Return an output without this machine's folders and the config id, which new keys change."""
    names = {str(folder / run): "DIR/RUN", run: "RUN", Path(run).parent.name: "VARIANT", str(folder): "DIR"}
    for path, name in (names | {str(ROOT): "REPO"}).items():
        output = output.replace(path, name)
    return output


def judge(one: Input, status: int | None, output: str, seconds: float, altered: str) -> Row:
    """Return the row of an input; `output` is as `shown` returns it."""
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    traced = "yes" if "Traceback (most recent call last)" in output else "no"
    told = lines[-1] if lines else ""
    ended = "hung" if status is None else str(status)
    return Row(one.number, one.kind, one.typed, ended, told, round(seconds, 1), len(lines), traced, altered)


class Lab:
    """The prepared folder, and processes in it."""

    def __init__(self, place: Path) -> None:
        self.folder, self.copy = place / "DIR", place / "copy"
        self.folder.mkdir()
        self.context = multiprocessing.get_context("fork")
        self.run = prepare(self.folder, self.start)
        self.restore_copy(self.folder, self.copy)
        self.before = listing(self.folder)

    def restore_copy(self, source: Path, target: Path) -> None:
        subprocess.run(["rm", "-rf", target], check=True)
        subprocess.run(["cp", "-a", source, target], check=True)

    def start(self, arguments: list[str], env: dict[str, str]) -> tuple[int | None, str, float]:
        """Run a process to its end; return its exit status (None = it hung), output, and seconds of CPU."""
        with tempfile.NamedTemporaryFile("r", errors="replace", suffix=".txt") as output:
            begun = _cpu()
            work = functools.partial(warm._run, arguments, str(self.folder))
            given = (work, arguments[1:], env, str(self.folder), output.name)
            process = self.context.Process(target=forked._work, args=given)
            process.start()
            process.join(LIMIT)
            status = process.exitcode
            if status is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.join()
            return status, output.read(), _cpu() - begun

    def give(self, one: Input) -> Row:
        """Give one input, and return its row; what it altered is mended."""
        status, output, seconds = self.start(*command(one.typed, self.folder, self.run))
        altered = difference(self.before, listing(self.folder))
        if altered != "no":
            self.restore_copy(self.copy, self.folder)
        return judge(one, status, shown(output, self.folder, self.run), seconds, shown(altered, self.folder, self.run))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write(rows: list[Row]) -> None:
    """Write the rows into bad_inputs.csv; inputs that are not among them keep theirs."""
    known = {row.typed: row for row in rows}
    if ROWS.exists():
        with open(ROWS, newline="", encoding="utf-8") as file:
            known = {line["typed"]: Row(**line) for line in csv.DictReader(file)} | known
    rows = [replace(known[one.typed], number=one.number, kind=one.kind) for one in read_inputs() if one.typed in known]
    with open(ROWS, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Row)])
        writer.writerows(map(astuple, rows))


def main() -> int:
    word = " ".join(sys.argv[1:])
    inputs = [one for one in read_inputs() if word in one.typed or word == one.kind]
    for name in warm.IMPORTED:
        import_module(name)
    rows = []
    with tempfile.TemporaryDirectory() as place:
        lab = Lab(Path(place).resolve())
        for one in inputs:
            row = lab.give(one)
            rows.append(row)
            marks = f" ALTERED {row.altered}" if row.altered != "no" else ""
            print(f"{row.number}. {row.typed}", flush=True)
            print(f"    {row.status} {row.lines} {row.seconds} {row.answer}{marks}", flush=True)
    faults = [row for row in rows if (row.status, row.traceback, row.altered) != ("1", "no", "no")]
    print(f"{len(rows)} inputs, {len(faults)} with a fault, {sum(row.seconds for row in rows):.0f} s of CPU")
    write(rows)
    return int(bool(faults))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--call"]:
        sys.exit(call(sys.argv[2]))
    sys.exit(main())
