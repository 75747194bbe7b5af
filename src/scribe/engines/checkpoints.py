"""State of a running fit on disk: one file, replaced atomically, good for the same call on the same data."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe.engines.convergence import Tracker
from scribe.engines.fit import Fit
from scribe.engines.problem import Problem, State

__all__ = ["FILE", "Checkpoints", "Snapshot"]

FILE = "scribe_checkpoint.npz"
_VERSION = 3


class Snapshot(NamedTuple):
    """Everything a running fit goes on from.

    ``best`` are the parameters of the best average; ``slow_down`` is the factor on the rate left by recoveries from
    losses that were not finite, ``retries`` their number.
    """

    state: State
    best: dict[str, Any]
    tracker: Tracker
    step: int
    retries: int = 0
    slow_down: float = 1.0


def fingerprint(problem: Problem, *, seed: int, batch_size: int | None, earlier: Fit | None) -> dict[str, Any]:
    """What must agree for a checkpoint to continue a fit."""
    counts = problem.counts
    design = () if problem.design is None else (problem.design.dataset, problem.design.logits)
    record = {
        "model": problem.spec.to_json(),
        "guide": problem.guide.to_json(),
        "optimizer": repr(problem.optimizer),
        "batch_size": batch_size if problem.batches is not None else None,
        "counts": _digest((counts.indptr, counts.indices, counts.data)),
        "design": _digest(x for x in design if x is not None),
        "seed": seed,
        "shapes": {name: list(value.shape) for name, value in problem.start.items()},
        "dtype": str(jnp.zeros(()).dtype),
        "continues": None if earlier is None else [len(earlier.losses), _digest(earlier.params.values())],
    }
    return json.loads(json.dumps(record))


def _digest(arrays: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoint of one fit in a directory."""

    directory: Path
    fingerprint: Mapping[str, Any]

    @property
    def path(self) -> Path:
        """The file."""
        return self.directory / FILE

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot; the previous file stays valid until the new one is complete."""
        self.directory.mkdir(parents=True, exist_ok=True)
        tracker = snapshot.tracker
        leaves = {f"leaf_{i}": np.asarray(x) for i, x in enumerate(jax.tree.leaves((snapshot.state, snapshot.best)))}
        meta = {
            "version": _VERSION,
            "fingerprint": self.fingerprint,
            "step": snapshot.step,
            "retries": snapshot.retries,
            "slow_down": snapshot.slow_down,
            "tracker": {name: vars(tracker)[name] for name in _TRACKED},
        }
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("wb") as file:
            arrays: dict[str, Any] = {"meta": np.asarray(json.dumps(meta)), "losses": tracker.losses, **leaves}
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    def load(self, start: Snapshot) -> Snapshot | None:
        """Read the snapshot of this very fit, in the structure of ``start``; None where there is none.

        Raises
        ------
        ValueError
            If the file cannot be read, or belongs to another model, data set, optimiser or seed.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                meta = json.loads(str(file["meta"]))
                arrays = {name: file[name] for name in file.files if name != "meta"}
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
            msg = f"The checkpoint {str(self.path)!r} cannot be read ({error}). {_REMEDY}"
            raise ValueError(msg) from error
        self._compare(meta)
        current, structure = jax.tree.flatten((start.state, start.best))
        state, best = jax.tree.unflatten(structure, [jnp.asarray(arrays[f"leaf_{i}"]) for i in range(len(current))])
        tracker = Tracker(start.tracker.rule, start.tracker.adaptive, **meta["tracker"], losses=arrays["losses"])
        return Snapshot(state, best, tracker, meta["step"], meta["retries"], meta["slow_down"])

    def _compare(self, meta: Mapping[str, Any]) -> None:
        if meta.get("version") != _VERSION:
            msg = f"The checkpoint {str(self.path)!r} was written by another version of scribe. {_REMEDY}"
            raise ValueError(msg)
        found = meta["fingerprint"]
        different = [name for name, value in self.fingerprint.items() if found.get(name) != value]
        if different:
            msg = (
                f"The checkpoint {str(self.path)!r} belongs to another fit: {', '.join(different)} "
                f"{'differs' if len(different) == 1 else 'differ'}. {_REMEDY}"
            )
            raise ValueError(msg)


_TRACKED = ("best", "best_step", "reference", "waited", "stage", "measured")
_REMEDY = 'Use another checkpoint_dir, delete the file, or pass early_stopping={"resume": False} to start over.'
