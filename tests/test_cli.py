"""The program as people start it: exit status, one line for errors, sweeps, nothing heavy for help, the wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from daair import cli
from daair.config.jobs import Command, Composer
from daair.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {
    "torch",
    "torchvision",
    "timm",
    "wandb",
    "pandas",
    "skimage",
    "piq",
    "accelerate",
    "cv2",
    "scipy",
    "matplotlib",
}

BASIC = ("-m", "hydra/launcher=basic")  # a sweep in this process

# A task and a job that cost nothing, importable from the directory in which the program is started.
TASKS = """
from pathlib import Path
from daair.config.identity import run_name
from daair.errors import UserError

def note(job):
    config = job.config
    with open("jobs.txt", "a") as file:
        print(run_name(config), config.model["experts"]["rank"], file=file)
    return 0

def odd(job):
    config = job.config
    note(job)
    if config.seed == 0:
        raise UserError("seed 0: is\\nodd")
    return 3 if config.seed == 3 else 0

def broken(job):
    config = job.config
    raise RuntimeError("a bug")

def shut(job):
    config = job.config
    Path("file").touch()
    Path("file/inside").mkdir()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "chores.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "chores", raising=False)
    return tmp_path


def start(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The program within this process."""
    monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
    try:
        return cli.main()
    except SystemExit as stop:  # how Hydra ends on an exception
        return int(stop.code or 0)


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--info", "defaults"], ["--hydra-help"]])
def test_asking_imports_nothing_heavy(arguments):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(ROOT / "run.py"), *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    imported = {line.rpartition("|")[2].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "hydra" in imported
    assert not imported & HEAVY


def test_help_tells_commands_and_options():
    text = start("--help").stdout
    for command in ("python run.py task=evaluate", "python run.py task=restore", "python run.py task=profile", " -m "):
        assert command in text
    for line in (
        "router: image, oracle, soft, top1, uniform",
        "task: collate, compare, doctor, evaluate, export, preview, profile, ",
    ):
        assert line in text


@pytest.mark.parametrize("program", ["python run.py", "daair"])
def test_the_shell_completes_keys_and_options(program, monkeypatch, capsys):
    for typed, completed in {"task=st": "task=status", "seed=1 experts.ra": "experts.rank="}.items():
        monkeypatch.setenv("COMP_LINE", f"{program} {typed}")
        assert run(monkeypatch, "--shell-completion", "query=bash") == 0
        assert capsys.readouterr().out.split() == [completed]


def test_an_error_is_one_line_with_status_1(tmp_path):
    done = start("+experts.rnk=3", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "error: experts.rnk: unknown; did you mean experts.rank?\n"
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_has_not_one_configuration_to_show(tmp_path):
    done = start("--cfg", "job", "-m", "seed=0,1", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == (
        "error: -m: --cfg and --info show one configuration; leave out -m, and give each key one value\n"
    )


def test_a_python_without_the_packages_is_told(tmp_path):
    """As after `git clone`, or in a shell in which .venv was not activated; -S leaves out what is installed."""
    command = [sys.executable, "-S", str(ROOT / "run.py"), "--help"]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("error: No module named 'hydra' in ") and len(done.stderr.splitlines()) == 1
    assert done.stderr.endswith("; give `make setup` once, then `source .venv/bin/activate`\n")


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    """As with `| head`: what is printed after the pipe was closed is dropped."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, str(ROOT / "run.py"), "task=doctor"]
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(command, cwd=tmp_path, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_an_option_that_does_not_exist_when_only_asking(tmp_path):
    done = start("--cfg", "job", "model=smal", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: model=smal: unknown; did you mean model=daair_small? (options: ")
    assert done.stderr.count("\n") == 1


def test_only_the_first_of_several_processes_tells_the_error(monkeypatch, folder, capsys):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert run(monkeypatch, "seed=-1") == 1
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("RANK", "x")  # what is left over from somewhere else silences nobody
    assert run(monkeypatch, "seed=-1") == 1
    assert capsys.readouterr().err == "error: seed: must be at least 0, got -1\n"
    monkeypatch.setenv("RANK", "1")
    monkeypatch.delenv("MASTER_ADDR")
    assert run(monkeypatch, "seed=-1") == 1
    assert capsys.readouterr().err == "error: seed: must be at least 0, got -1\n"


def test_python_m_daair_is_the_same_program(folder):
    done = subprocess.run(
        [sys.executable, "-m", "daair", "task._target_=chores.note", "study=m"],
        cwd=folder, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (folder / "jobs.txt").read_text().startswith("m/daair-demo-")


def test_a_run_leaves_nothing_of_hydra_behind(monkeypatch, folder):
    assert run(monkeypatch, "task._target_=chores.note", "model=daair_tiny") == 0
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == {"chores.py", "jobs.txt"}


def test_a_sweep_runs_every_combination(monkeypatch, folder):
    arguments = (*BASIC, "task._target_=chores.note", "experts.rank=4,8", "seed=0,1", "study=sweep", "paths.runs=out")
    assert run(monkeypatch, *arguments) == 0
    jobs = [line.split() for line in (folder / "jobs.txt").read_text().splitlines()]
    assert [(name.rpartition("/")[2], rank) for name, rank in jobs] == [
        ("seed0", "4"), ("seed1", "4"), ("seed0", "8"), ("seed1", "8")
    ]  # fmt: skip
    assert len({name for name, _ in jobs}) == 4
    assert not (folder / "out").exists(), "nothing of Hydra's"


def test_the_flag_of_a_sweep_may_stand_anywhere(monkeypatch, folder):
    assert run(monkeypatch, "task._target_=chores.note", "-m", "seed=1,2", "study=s", "hydra/launcher=basic") == 0
    assert len((folder / "jobs.txt").read_text().splitlines()) == 2


def test_no_job_of_a_sweep_starts_when_one_is_wrong(monkeypatch, folder, capsys):
    assert run(monkeypatch, *BASIC, "task._target_=chores.note", "seed=1,-1") == 1
    error = capsys.readouterr().err
    assert error == ("error: seed: must be at least 0, got -1 (in the sweep's job seed=-1)\n")
    assert not (folder / "jobs.txt").exists()


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["experts.rnk=4,8"], "experts.rnk: unknown; did you mean experts.rank?"),
        (["model=daair,smal"], "model=smal: unknown; did you mean model=daair_small?"),
        (["experts.rank=4,100000", "+zzz=1"], "zzz: unknown; "),
        (["experts.rank=range(0,3)"], "experts.rank: must be at least 1, got 0 (in the sweep's job experts.rank=0)"),
        (["experts.rank=4,100000"], "experts.rank: "),
    ],
)
def test_sweep_errors(monkeypatch, folder, overrides, text):
    with pytest.raises(UserError) as caught:
        list(Command.parse(["-m", *overrides]).jobs)
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize("arguments", [["-m", "seed=0,1"], ["hydra.mode=MULTIRUN", "seed=0,1"]])
@pytest.mark.parametrize("name", ["RANK", "WORLD_SIZE"])
def test_a_launched_process_does_not_sweep(monkeypatch, folder, arguments, name):
    monkeypatch.setenv(name, "0")
    with pytest.raises(UserError, match="sweep from an unlaunched parent"):
        Command.parse(arguments)


def test_a_dry_run_without_a_plan_starts_nothing(monkeypatch, folder, capsys):
    assert run(monkeypatch, *BASIC, "task._target_=chores.note", "seed=1,2", "launch.dry_run=true") == 1
    assert capsys.readouterr().err.startswith("error: launch.dry_run: only a sweep of trainings by hydra")
    assert not (folder / "jobs.txt").exists()


def test_exit_status_of_tasks(monkeypatch, folder, capsys):
    assert run(monkeypatch, "task._target_=chores.odd", "seed=1") == 0
    assert run(monkeypatch, "task._target_=chores.odd", "seed=3") == 3
    assert run(monkeypatch, "task._target_=chores.odd", "seed=0") == 1
    assert capsys.readouterr().err == "error: seed 0: is odd\n"


def test_a_failed_job_fails_the_sweep_and_the_others_run(monkeypatch, folder, capsys):
    assert run(monkeypatch, *BASIC, "task._target_=chores.odd", "seed=0,1") == 1
    assert len((folder / "jobs.txt").read_text().splitlines()) == 2
    assert capsys.readouterr().err == "error: seed 0: is odd\n"


def test_a_place_that_cannot_be_written_is_one_line(monkeypatch, folder, capsys):
    assert run(monkeypatch, "task._target_=chores.shut") == 1
    assert capsys.readouterr().err == "error: file/inside: Not a directory\n"


@pytest.mark.parametrize("override", ["launch.rerun=all", "launch.timeout=5", "launch.order={seed:[3]}"])
def test_what_only_launchers_look_at_is_refused_without_one(monkeypatch, folder, capsys, override):
    assert run(monkeypatch, "task._target_=chores.note", override) == 1
    name = override.partition("=")[0]
    assert capsys.readouterr().err.startswith(f"error: {name}: only a sweep of trainings by hydra")
    assert not (folder / "jobs.txt").exists()


def test_a_launcher_without_a_sweep_does_not_begin_the_run_here(monkeypatch, folder, capsys):
    assert run(monkeypatch, "task._target_=chores.note", "hydra/launcher=slurm") == 1
    assert capsys.readouterr().err.startswith("error: hydra/launcher=slurm: starts the runs of a sweep; ")
    assert not (folder / "jobs.txt").exists()


@pytest.mark.parametrize("size", ["-1", "two"])
def test_batches_of_a_sweep_have_a_job_at_least(monkeypatch, folder, capsys, size):
    assert run(monkeypatch, *BASIC, "task._target_=chores.note", f"hydra.sweeper.max_batch_size={size}") == 1
    assert capsys.readouterr().err.startswith("error: hydra.sweeper.max_batch_size: ")


def test_a_checkpoint_brings_its_own_network(folder):
    (Path.cwd() / "x").mkdir(exist_ok=True)
    for task in (["task=evaluate", "benchmarks=[demo_rain]"], ["task=restore", "input=x", "output=y"]):
        for override in ("router=soft", "experts.rank=4", "model=daair_small"):
            with pytest.raises(UserError, match=r"^(router|experts.rank|model): unused; the network is the one of"):
                list(Command.parse([*task, "checkpoint=x", override]).jobs)


def test_without_a_checkpoint_the_network_that_comes_along_is_the_one(folder):
    for override in ("router=soft", "model=promptir"):
        with pytest.raises(UserError, match=r": unused; the network is daair_tiny, since there is no checkpoint="):
            list(Command.parse(["task=restore", "input=x", "output=y", override]).jobs)


def test_a_missing_checkpoint_is_told_before_the_network_that_it_would_bring(monkeypatch, folder, capsys):
    assert run(monkeypatch, "task=evaluate", "model=promptir", "checkpoint=nofile.ckpt", "benchmarks=[demo_rain]") == 1
    assert capsys.readouterr().err.startswith("error: checkpoint: nofile.ckpt does not exist; give a run")


def test_a_bug_keeps_its_traceback(monkeypatch, folder, capsys):
    assert run(monkeypatch, "task._target_=chores.broken") == 1
    assert "RuntimeError: a bug" in capsys.readouterr().err


def test_config_dir_adds_options(folder):
    (folder / "more" / "loss").mkdir(parents=True)
    (folder / "more" / "loss" / "mine.yaml").write_text("defaults: [l1, _self_]\nl2: 0.5\n")
    composer = Composer(cli.conf_dir(), config_dir=str(folder / "more"))
    assert composer.compose(["loss=mine"]).loss.l2 == 0.5
    with pytest.raises(UserError, match="--config-dir nix: no such folder"):
        Composer(cli.conf_dir(), config_dir="nix")


def test_the_wheel_carries_the_config_files(tmp_path):
    pytest.importorskip("hatchling")
    if not (ROOT / "README.md").is_file():
        pytest.skip("README.md, which the package's metadata names, is not there")
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    shipped = {
        p.relative_to(tmp_path / "site/daair").as_posix() for p in (tmp_path / "site/daair/conf").rglob("*.yaml")
    }
    studies = {f"conf/experiment/{p.name}" for p in (ROOT / "experiments").glob("*.yaml")}
    assert studies and shipped == studies | {p.relative_to(ROOT).as_posix() for p in (ROOT / "conf").rglob("*.yaml")}
    assert not list((tmp_path / "site/daair/conf/experiment").glob("*/*"))
    # Only the unpacked wheel, no checkout: it finds its own conf/.
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); from daair import cli; print(cli.conf_dir())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(tmp_path / "site" / "daair" / "conf"), done.stderr
