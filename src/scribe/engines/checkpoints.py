"""State of a running fit on disk: one file, replaced atomically, good for the same call on the same data."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scribe.engines.convergence import Tracker
from scribe.engines.problem import Problem

__all__ = ["Loaded", "load_checkpoint", "save_checkpoint"]

_FILE = "scribe_checkpoint.npz"
_VERSION = 1


class Loaded(NamedTuple):
    """Arrays of a checkpoint and the step they belong to."""

    arrays: Any
    step: int


def _fingerprint(problem: Problem, seed: int) -> dict[str, object]:
    """What must agree for a checkpoint to continue a fit."""
    counts = problem.counts
    digest = hashlib.sha256()
    for array in (counts.indptr, counts.indices, counts.data):
        digest.update(np.ascontiguousarray(array).data)
    return {
        "version": _VERSION,
        "spec": problem.spec.to_json(),
        "optimizer": repr(problem.optimizer),
        "counts": digest.hexdigest(),
        "seed": seed,
        "shapes": {name: list(value.shape) for name, value in problem.start.items()},
        "dtype": str(jnp.zeros(()).dtype),
    }


def save_checkpoint(directory: Path, arrays: Any, tracker: Tracker, *, step: int, problem: Problem, seed: int) -> None:
    """Write the state after ``step``; the previous file stays valid until the new one is complete."""
    directory.mkdir(parents=True, exist_ok=True)
    leaves: dict[str, Any] = {f"leaf_{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(arrays))}
    numbers = {
        "step": step,
        "best": tracker.best,
        "best_step": tracker.best_step,
        "waited": tracker.waited,
        "stage": tracker.stage,
        "chunks": [len(chunk) for chunk in tracker.losses],
        "fingerprint": _fingerprint(problem, seed),
    }
    temporary = directory / (_FILE + ".tmp")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, meta=np.asarray(json.dumps(numbers)), losses=tracker.history, **leaves)
    temporary.replace(directory / _FILE)


def load_checkpoint(directory: Path, arrays: Any, tracker: Tracker, *, problem: Problem, seed: int) -> Loaded | None:
    """Read the checkpoint of this very fit into arrays of the given structure; None where there is none.

    Raises
    ------
    ValueError
        If the file belongs to another model, data set, optimiser or seed.
    """
    path = directory / _FILE
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        numbers = json.loads(str(file["meta"]))
        expected, found = _fingerprint(problem, seed), numbers["fingerprint"]
        different = [k for k in expected if found.get(k) != expected[k]]
        if different:
            msg = (
                f"The checkpoint in {str(directory)!r} belongs to another fit: {', '.join(different)} differ. Use "
                'another checkpoint_dir, delete that file, or pass early_stopping={"resume": False} to start over.'
            )
            raise ValueError(msg)
        current, structure = jax.tree.flatten(arrays)
        leaves = [jnp.asarray(file[f"leaf_{i}"]) for i in range(len(current))]
        losses = file["losses"]
    tracker.best, tracker.best_step = numbers["best"], numbers["best_step"]
    tracker.waited, tracker.stage = numbers["waited"], numbers["stage"]
    tracker.losses = list(np.split(losses, np.cumsum(numbers["chunks"])[:-1]))
    return Loaded(jax.tree.unflatten(structure, leaves), numbers["step"])
