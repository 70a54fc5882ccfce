"""task=runs: which runs are selected, what is done with them, and what is left as it is."""

import io
import json
import shutil
from pathlib import Path

import pytest
import yaml
from helpers import job
from synthetic import make_run, rows

from daair.cli import conf_dir
from daair.config import typed
from daair.config.jobs import Command, Composer
from daair.config.schema import Config
from daair.config.validate import validate
from daair.errors import UserError
from daair.report.frame import frame
from daair.runs import shelf, store
from daair.runs.record import Record
from daair.tasks import runs as task


@pytest.fixture(scope="module")
def composed() -> Config:
    return validate(Composer(conf_dir()).compose(["task=runs"]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two ranks with three seeds, the second of which failed; and another study."""
    for rank in (4, 8):
        for seed in range(3):
            state = {"state": "failed" if seed == 1 else "done", "message": "out of memory" if seed == 1 else ""}
            folder = make_run(
                tmp_path, f"rank{rank}-0000000{rank}", seed, rows([30.0]), experts={"rank": rank}, status=state
            )
            (folder / "overrides.yaml").write_text(f"[study=rank, experts.rank={rank}, seed={seed}]")
    make_run(tmp_path, "other-0000000c", 0, study="loss", choices={"router": "soft"})
    return tmp_path


@pytest.fixture
def do(composed: Config, root: Path, capsys: pytest.CaptureFixture):
    def call(study=None, where: str | None = None, **keys) -> tuple[int, str]:
        paths = composed.paths.model_copy(update={"runs": str(root)})
        config = composed.model_copy(update={"study": study, "where": where, "paths": paths, **keys})
        capsys.readouterr()
        return task.runs(job(config)), capsys.readouterr().out

    return call


def names(root: Path, study: str = "rank") -> list[str]:
    return [folder.relative_to(root).as_posix() for folder in store.run_folders(root, study)]


def test_what_is_selected_is_listed(do, root: Path) -> None:
    code, text = do("rank", "experts.rank==8 and state=='failed'")
    assert code == 0 and text.startswith("rank: 1 runs: 1 failed\n") and "rank8-00000008" in text
    code, text = do(None, "seed==0 and router in ['top1', 'soft']")
    assert "rank: 2 runs: 2 done" in text and "loss: 1 runs: 1 done" in text
    assert do(("rank", "loss"), "'memory' in message and mix=='aio3'")[1].startswith("rank: 2 runs: 2 failed")
    assert do("rank", "label=='rank16'") == (0, "none of 6 runs is selected\n")
    with pytest.raises(UserError, match=r"where: no run has expert.rank; did you mean experts.rank\?"):
        do("rank", "expert.rank==8")
    with pytest.raises(UserError, match="study=rnk: no runs of it in .*; did you mean rank"):
        do("rnk")


def test_damaged_runs_can_be_selected_and_deleted(do, root: Path) -> None:
    (root / "rank/rank4-00000004/seed0/status.json").write_text("{")
    (root / "rank/rank8-00000008/seed0/config.yaml").write_text("a: [1")
    assert "1 unreadable" in do("rank", "state=='unreadable'")[1]
    assert do("rank", "state=='unreadable'", action="delete", ask=False)[0] == 0
    code, text = do("rank", "seed==0", action="rerun")
    assert code == 1 and "config.yaml: cannot be read" in text
    assert len(names(root)) == 5


def test_archived_runs_lie_below_archive_and_are_collated_there(do, root: Path) -> None:
    code, text = do("rank", "experts.rank==4", action="archive")
    assert code == 0 and f"{root}/rank/rank4-00000004/seed0 is {root}/archive/rank/rank4-00000004/seed0 now" in text
    assert names(root) == [f"rank/rank8-00000008/seed{k}" for k in range(3)]
    assert names(root, "archive/rank") == [f"archive/rank/rank4-00000004/seed{k}" for k in range(3)]
    assert not (root / "rank/rank4-00000004").exists() and store.studies(root) == ["loss", "rank"]
    assert len(frame(root, ["rank", "archive/rank"]).runs) == 6
    code, text = do("archive/rank", action="archive")
    assert code == 1 and text.count("is archived already") == 3
    make_run(root, "rank4-00000004", 0)
    code, text = do("rank", "experts.rank==4", action="archive")
    assert code == 1 and "is there already" in text and (root / "rank/rank4-00000004/seed0").is_dir()


def test_deleting_asks(do, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(UserError, match="action=delete: there is no terminal to ask on; ask=false deletes without"):
        do("rank", "seed==1", action="delete")
    for answer in ("n\n", "\n", "", "yess\n"):
        monkeypatch.setattr("sys.stdin", Terminal(answer))
        code, text = do("rank", "seed==1", action="delete")
        assert code == 1 and text.endswith("nothing was deleted\n") and len(names(root)) == 6
    assert "Delete 2 runs with all checkpoints, weights and results" in text
    assert "rank8-00000008" in text, "the runs are listed before the question"
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert do("rank", "seed==1", action="delete")[0] == 0 and len(names(root)) == 4
    assert do("rank", action="delete", ask=False)[0] == 0 and not (root / "rank").exists()


def test_a_run_that_began_while_the_user_was_asked_stays(do, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*_) -> bool:
        Record(root / "rank/rank8-00000008/seed1").update(state="running", host="elsewhere")
        return True

    monkeypatch.setattr(task, "agreed", begin)
    code, text = do("rank", "seed==1", action="delete")
    assert code == 1 and "seed1 is running on elsewhere; stop it first" in text and len(names(root)) == 5


def test_a_killed_deletion_leaves_no_half_run_and_is_finished_later(do, root: Path, monkeypatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(shelf.shutil, "rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            do("rank", "seed==1 and experts.rank==4", action="delete", ask=False)
    assert len(names(root)) == 5 and len(frame(root, "rank").runs) == 5
    do("rank", "seed==0 and experts.rank==4", action="delete", ask=False)
    assert [path.name for path in (root / "rank/rank4-00000004").iterdir()] == ["seed2"]


def test_another_deletion_at_the_same_time_takes_files_away(do, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove, calls = shelf.shutil.rmtree, []

    def late(folder: Path) -> None:
        calls.append(folder)
        if len(calls) == 1:
            (folder / "status.json").unlink()
            raise FileNotFoundError(2, "No such file or directory", "status.json")
        remove(folder)

    monkeypatch.setattr(shelf.shutil, "rmtree", late)
    assert do("rank", "seed==0 and experts.rank==4", action="delete", ask=False)[0] == 0
    assert sorted(path.name for path in (root / "rank/rank4-00000004").iterdir()) == ["seed1", "seed2"]


def test_runs_that_are_running_stay(do, root: Path) -> None:
    folder = root / "rank/rank8-00000008/seed0"
    Record(folder).update(state="running", host="elsewhere")
    held = Record(root / "rank/rank8-00000008/seed2")
    with held.lock():
        for action in ("archive", "delete", "rerun", "label"):
            code, text = do("rank", "experts.rank==8 and seed!=1", action=action, ask=False, label="new")
            assert code == 1 and "left as it is: " in text
            assert "is running on elsewhere; stop it first" in text
            assert action == "label" or "is being written by another process" in text
    assert len(names(root)) == 6


def test_runs_that_wait_in_slurm_stay(do, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record(root / "rank/rank8-00000008/seed0")
    record.hand_over("17_3")
    monkeypatch.setattr(task.squeue, "jobs", lambda: {"17_3": "PENDING"})
    for state in ("queued", "interrupted"):  # the latter was preempted, and its job waits again
        record.update(state=state)
        for action in ("delete", "label", "rerun", "archive"):
            code, text = do("rank", "experts.rank==8 and seed==0", action=action, ask=False, label="new")
            assert code == 1 and "waits as Slurm job 17_3; scancel 17_3 first" in text and record.folder.is_dir()
    monkeypatch.setattr(task.squeue, "jobs", lambda: None)
    monkeypatch.setattr(task.shutil, "which", lambda name: f"/usr/bin/{name}")
    code, text = do("rank", "experts.rank==8 and seed==0", action="delete", ask=False)
    assert code == 1 and "may wait as Slurm job 17_3, but Slurm does not answer" in text and record.folder.is_dir()
    monkeypatch.setattr(task.shutil, "which", lambda name: None)
    assert do("rank", "experts.rank==8 and seed==0", action="delete", ask=False)[0] == 0


def test_a_rerun_is_queued_anew_with_its_config_and_its_old_folder_is_kept(do, root: Path) -> None:
    folder = root / "rank/rank8-00000008/seed1"
    before = (folder / "config.yaml").read_text()
    code, text = do("rank", "experts.rank==8", action="rerun")
    assert code == 0 and f"{folder} is queued" in text
    assert "or by python run.py -m study=rank experts.rank=8 seed=0,1,2" in text
    assert Record(folder).status().state == "queued" and Record(folder).status().steps == 100
    assert Record(folder).config() == yaml.safe_load(before) and Record(folder).results() is None
    (old,) = folder.parent.glob(".seed1-*")
    assert json.loads((old / "status.json").read_text())["state"] == "failed"
    assert do("rank", "experts.rank==8", action="rerun")[0] == 0, "twice within a second"
    assert len(list(folder.parent.glob(".seed1-*"))) == 2


def test_an_archived_run_is_not_queued_where_no_sweep_looks(do, root: Path) -> None:
    do("rank", "experts.rank==8", action="archive")
    code, text = do("archive/rank", None, action="rerun")
    assert code == 1 and f"seed1 is not trained there but in {root}/rank; move it back first" in text
    assert frame(root, "archive/rank").runs["state"].ne("queued").all()


def test_a_label_stays_that_of_its_config(do, root: Path) -> None:
    """When a run is trained again, and when another seed is added."""
    do("rank", "experts.rank==8", action="label", label="Ours (β)")
    do("rank", "experts.rank==8 and seed==0", action="rerun")
    (variant,) = {
        folder.parent for folder in store.run_folders(root, "rank") if folder.parent.name.endswith("00000008")
    }
    shutil.copytree(root / "rank/rank4-00000004/seed0", variant / "seed7")
    table = frame(root, "rank").runs
    assert set(table.loc[table["id"] == "00000008", "label"]) == {"Ours (β)"}
    assert Record(variant / "seed0").summary() == {"label": "Ours (β)"}


def test_a_label_names_all_seeds_of_a_config(do, root: Path) -> None:
    code, text = do("rank", "experts.rank==8 and seed==0", action="label", label="ours")
    assert code == 0 and f"rank8-00000008 is {root}/rank/ours-00000008 now" in text
    assert names(root)[:3] == [f"rank/ours-00000008/seed{k}" for k in range(3)]
    do("rank", "label=='ours'", action="label", label="Ours (β)")
    table = frame(root, "rank").runs
    assert set(table.loc[table["id"] == "00000008", "label"]) == {"Ours (β)"}
    do("rank", "label=='Ours (β)'", action="label", label="plain")
    assert set(frame(root, "rank").runs["label"]) == {"plain", "rank4"}


def test_a_network_that_was_only_evaluated(do, root: Path) -> None:
    folder = make_run(root, "theirs-0000000d", 0, summary={"origin": "published weights", "label": "Theirs"})
    folder.rename(folder.with_name("weights"))
    code, text = do("rank", "label=='Theirs'", action="rerun")
    assert code == 1 and "was only evaluated; task=evaluate measures it again" in text
    assert do("rank", "label=='Theirs'", action="label", label="PromptIR")[0] == 0
    assert "PromptIR" in set(frame(root, "rank").runs["label"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["task=runs", "action=delete"], "study: missing; action=delete needs study=NAME or where=CONDITION"),
        (["task=runs", "study=rank", "action=label"], "label: missing; action=label needs label=TEXT"),
        (["task=runs", "label=x"], "label: unused without action=label"),
        (["task=runs", "study=rank", "action=remove"], 'action: "remove" is not one of list, archive, delete, rerun'),
        (["task=runs", "study=rank", "action=archive", "ask=false"], "ask: unused without action=delete"),
        (["task=collate", "study=rank", "where=seed==0"], "where: unused by task=collate; it is for task=runs"),
        (["task=runs", "runs=[a,b]"], "runs: unused by task=runs; it is for task=compare"),
    ],
)
def test_mistakes_are_told_beforehand(words: list[str], text: str) -> None:
    with pytest.raises(UserError) as caught:
        list(Command.parse(typed.read(words)).jobs)
    assert str(caught.value).startswith(text)


def test_a_condition_is_read_as_it_was_typed() -> None:
    for text in ("experts.rank==8 and state=='failed'", "'a' in label and state=='b'", "seed in [0, 1]"):
        (job,) = Command.parse(typed.read(["task=runs", f"where={text}"])).jobs
        assert job.config.where == text
