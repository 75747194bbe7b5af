"""Files of a running fit: who may write them, what happens where that fails, and what is refused when read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scribe._counts.container import Counts
from scribe._model.resolve import resolve_spec
from scribe.engines import SVI, EarlyStopping, Task, locks
from scribe.engines.checkpoints import FILE, Checkpoints, Snapshot
from scribe.engines.contract import State
from scribe.engines.convergence import Tracker
from scribe.engines.locks import LockedError, locked
from scribe.guides import MeanField

FULL = OSError(28, "No space left on device")


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def failing(error: OSError) -> Callable[..., Any]:
    """A function that raises, in the place of one of the operating system."""

    def fail(*_: Any) -> None:
        raise error

    return fail


def snapshot(step: int = 3) -> Snapshot:
    """One of a fit with two arrays, without a fit."""
    params = {"a_loc": jnp.arange(4.0), "b_loc": jnp.ones((2, 3))}
    tracker = Tracker(EarlyStopping(), adaptive=True, best=-1.5, measured=(1.0, 2.0), losses=np.arange(float(step)))
    return Snapshot(State(params, (params, jnp.asarray(2))), params, tracker, step, retries=1, slow_down=0.5)


@pytest.fixture
def written(tmp_path):
    checkpoints = Checkpoints(tmp_path, {"seed": 1})
    checkpoints.save(snapshot())
    return checkpoints


def test_what_is_saved_is_loaded(written):
    loaded = written.load(snapshot(7))
    assert jax.tree.all(jax.tree.map(np.array_equal, loaded.state, snapshot().state))
    assert loaded.tracker.measured == (1.0, 2.0)
    assert (loaded.tracker.best, loaded.step, loaded.retries, loaded.slow_down) == (-1.5, 3, 1, 0.5)
    assert files(written.directory) == [FILE]


def change(path: Path, edit: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Write a file anew after ``edit(meta, arrays)``."""
    with np.load(path) as file:
        arrays = dict(file)
    meta = json.loads(str(arrays.pop("meta")))
    edit(meta, arrays)
    np.savez(path, meta=np.asarray(json.dumps(meta)), **arrays)


WRONG = {
    "no leaf": lambda m, a: a.pop("leaf_1"),
    "leaf of another shape": lambda m, a: a.update(leaf_0=np.zeros(5, np.float32)),
    "leaf of another type": lambda m, a: a.update(leaf_0=np.zeros(4, np.int8)),
    "no losses": lambda m, a: a.pop("losses"),
    "losses of another length": lambda m, a: a.update(losses=np.zeros(2)),
    "losses as text": lambda m, a: a.update(losses=np.array(["1", "2", "3"])),
    **{f"no {name}": lambda m, a, name=name: m.pop(name) for name in ("version", "fingerprint", "step", "tracker")},
    "no slow_down": lambda m, a: m.pop("slow_down"),
    "fingerprint a number": lambda m, a: m.update(fingerprint=3),
    "step as text": lambda m, a: m.update(step="3"),
    "negative step": lambda m, a: m.update(step=-3),
    "slow_down above one": lambda m, a: m.update(slow_down=2.0),
    "tracker a list": lambda m, a: m.update(tracker=[1]),
    "tracker without a field": lambda m, a: m["tracker"].pop("waited"),
    "no such stage": lambda m, a: m["tracker"].update(stage=99),
    "best not a number": lambda m, a: m["tracker"].update(best=float("nan")),
    "measured not numbers": lambda m, a: m["tracker"].update(measured=["x"]),
}


@pytest.mark.parametrize("edit", WRONG.values(), ids=WRONG)
def test_missing_and_misshapen_fields_are_refused(written, edit):
    change(written.path, edit)
    with pytest.raises(ValueError, match=rf"checkpoint '.*{FILE}' cannot be read .*delete the file"):
        written.load(snapshot(7))


@pytest.mark.parametrize("seed", range(60))
def test_damaged_files_are_refused_or_right(written, seed):
    """Bytes flipped at random, of the file or within its members, raise one kind of error or change nothing."""
    rng, content = np.random.default_rng(seed), bytearray(written.path.read_bytes())
    for at in rng.integers(0, len(content), 1 + seed % 3):
        content[at] ^= int(rng.integers(1, 256))
    written.path.write_bytes(content[: len(content) if seed % 5 else rng.integers(0, len(content))])
    try:
        loaded = written.load(snapshot(7))
    except ValueError as error:
        assert FILE in str(error)  # noqa: PT017
    else:
        assert jax.tree.all(jax.tree.map(np.array_equal, loaded.state, snapshot().state))


def test_a_directory_is_held_by_one_fit(written):
    start = snapshot()
    with written.reserved(start), pytest.raises(RuntimeError, match=rf"in use by another fit \(process {os.getpid()}"):  # noqa: SIM117
        with Checkpoints(written.directory, {"seed": 2}).reserved(start):
            pass
    assert files(written.directory) == [FILE]
    with Checkpoints(written.directory, {"seed": 2}).reserved(start):
        pass


def test_what_killed_processes_left_is_removed(written):
    (written.directory / "scribe_checkpoint.lock").write_text("process 1 on nowhere")
    (written.directory / "scribe_checkpoint.abc.tmp").write_text("half")
    (written.directory / "mine.tmp").write_text("the user's")
    with written.reserved(snapshot()):
        pass
    assert files(written.directory) == ["mine.tmp", FILE]


def test_locks_that_a_file_system_lacks_are_not_asked_for(written, monkeypatch, caplog):
    monkeypatch.setattr(locks, "_lock", failing(OSError(38, "Function not implemented")))
    with written.reserved(snapshot()):
        written.save(snapshot(5))
    assert "without locks" in caplog.text
    assert written.load(snapshot()).step == 5


def test_a_lock_whose_file_was_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    """Between opening and locking, the process that held the lock may have removed its file."""
    lock, path, taken = locks._lock, tmp_path / "lock", []

    def late(file: int) -> None:
        taken.append(file)
        if len(taken) == 1:
            path.unlink()
        lock(file)

    monkeypatch.setattr(locks, "_lock", late)
    with locked(path):
        monkeypatch.undo()
        assert len(taken) == 2
        with pytest.raises(LockedError, match="process"), locked(path):
            pass


def unusable(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "file"
    file.write_text("the user's")
    if kind == "full":
        monkeypatch.setattr(os, "fsync", failing(FULL))
    if kind == "read-only":  # as for all users but root
        monkeypatch.setattr(os, "open", failing(PermissionError(13, "Permission denied")))
    return {"a file": file, "in a file": file / "below"}.get(kind, tmp_path / "new" / "below")


@pytest.mark.parametrize("kind", ["a file", "in a file", "full", "read-only"])
def test_a_directory_that_cannot_be_written_to_is_refused_at_the_start(tmp_path, monkeypatch, kind):
    directory = unusable(tmp_path, kind, monkeypatch)
    with pytest.raises(ValueError, match=r"checkpoint_dir='.*' cannot be written to .*leave it out"):  # noqa: SIM117
        with Checkpoints(directory, {}).reserved(snapshot()):
            pass
    monkeypatch.undo()
    assert (tmp_path / "file").read_text() == "the user's"
    assert not list(tmp_path.rglob("*.tmp")) + list(tmp_path.rglob("*.lock"))


def test_a_later_failure_warns_once_and_leaves_the_last_file(written, monkeypatch):
    monkeypatch.setattr(Path, "replace", failing(FULL))
    with written.reserved(snapshot()):
        with pytest.warns(UserWarning, match="step 5 was not saved .*No space left.* goes on") as said:
            written.save(snapshot(5))
        assert said[0].filename == __file__
        written.save(snapshot(6))  # a second warning would be an error
        monkeypatch.undo()
        assert written.load(snapshot()).step == 3
        written.save(snapshot(8))
    assert written.load(snapshot()).step == 8
    assert files(written.directory) == [FILE]


@pytest.mark.loose_promotion
def test_two_fits_in_one_directory(tmp_path, monkeypatch):
    """While one runs another is refused, whatever its seed; the first ends as if it had been alone."""
    rng = np.random.default_rng(0)
    counts = Counts.from_matrix(rng.poisson(rng.gamma(2.0, 1.0, (30, 8))))
    rule = EarlyStopping(enabled=False, restore_best=False, checkpoint_every=100)

    def fit(seed: int, directory: Path | None) -> Any:
        engine = SVI(200, early_stopping=rule, checkpoint_dir=directory, n_restarts=2)
        return engine.fit(Task(resolve_spec("nbdm"), counts, MeanField()), seed=seed)

    alone, save, refused = fit(0, None), Checkpoints.save, []

    def save_and_intrude(self: Checkpoints, now: Snapshot) -> None:
        save(self, now)
        if self.directory == tmp_path / "run_0":
            with pytest.raises(RuntimeError, match="in use by another fit") as error:
                fit(len(refused), tmp_path)
            refused.append(error)

    monkeypatch.setattr(Checkpoints, "save", save_and_intrude)
    disturbed = fit(0, tmp_path)
    assert len(refused) == 2
    assert jax.tree.all(jax.tree.map(np.array_equal, alone.params, disturbed.params))
    with pytest.raises(ValueError, match="belongs to another fit: seed differs"):
        fit(1, tmp_path)
