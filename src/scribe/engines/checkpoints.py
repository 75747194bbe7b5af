"""State of a running fit on disk: one file, replaced atomically, good for the same call on the same data.

A fit holds its directory by a lock, so that no two write to one, and makes sure at its start that it can write there.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import math
import os
import uuid
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from scribe._counts.checks import outside_stacklevel
from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.spec import ModelSpec
from scribe.engines.contract import Fitted, State
from scribe.engines.convergence import RATES, Tracker
from scribe.engines.locks import LockedError, locked

__all__ = ["FILE", "Checkpoints", "Snapshot", "fingerprint", "of_data"]

FILE = "scribe_checkpoint.npz"
_LOCK = "scribe_checkpoint.lock"
_TEMPORARY = "scribe_checkpoint.{}.tmp"
_VERSION = 3

_TRACKED = ("best", "best_step", "reference", "waited", "stage", "measured")
_REMEDY = 'Use another checkpoint_dir, delete the file, or pass early_stopping={"resume": False} to start over.'
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    LookupError,
    ValueError,
    TypeError,
    EOFError,
    OSError,
    RuntimeError,
    MemoryError,
    SyntaxError,
)
"""What NumPy and the modules below it raise on files that are not what they say."""

_log = logging.getLogger("scribe")


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


def fingerprint(objective: Mapping[str, Any], *, seed: int, earlier: Fitted | None) -> dict[str, Any]:
    """What must agree for a checkpoint to continue a fit: what the ``objective`` says of itself, and the run."""
    record = {
        **objective,
        "seed": seed,
        "dtype": str(jnp.zeros(()).dtype),
        "continues": None if earlier is None else [len(earlier.losses), _digest(earlier.params.values())],
    }
    return json.loads(json.dumps(record))


def of_data(spec: ModelSpec, counts: Counts, design: Design) -> dict[str, Any]:
    """What an objective says of its model and data."""
    known = (x for moments in design.known.values() for x in (moments.loc, moments.scale))
    covariates = (x for x in (design.dataset, design.logits, *known) if x is not None)
    return {"model": spec.to_json(), "counts": counts.digest(), "design": _digest(covariates)}


def _digest(arrays: Iterable[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@dataclass
class Checkpoints:
    """The checkpoint of one fit in a directory; ``failed`` is true after a warning that one was not written."""

    directory: Path
    fingerprint: Mapping[str, Any]
    failed: bool = False

    @property
    def path(self) -> Path:
        """The file."""
        return self.directory / FILE

    @contextlib.contextmanager
    def reserved(self, start: Snapshot) -> Iterator[Self]:
        """Hold the directory, made if it is missing, while a fit runs.

        Raises
        ------
        ValueError
            If a snapshot the size of ``start`` cannot be written there.
        RuntimeError
            If another fit holds it.
        """
        name = f"checkpoint_dir={str(self.directory)!r}"
        with contextlib.ExitStack() as stack:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                alone = stack.enter_context(locked(self.directory / _LOCK))
                if alone:
                    self._remove_left()
                self._write(self._bytes(start), keep=False)
            except LockedError as error:
                msg = f"{name} is in use by another fit ({error}). Wait for its end, or name another directory."
                raise RuntimeError(msg) from error
            except OSError as error:
                msg = f"{name} cannot be written to ({error}). Name a directory that can, with room, or leave it out."
                raise ValueError(msg) from error
            if not alone:
                _log.warning("%s is on a file system without locks: let no other fit write to it", name)
            yield self

    def _remove_left(self) -> None:
        """Remove what a process that was killed while it wrote left behind."""
        for left in self.directory.glob(_TEMPORARY.format("*")):
            left.unlink(missing_ok=True)

    def save(self, snapshot: Snapshot) -> None:
        """Write a snapshot; the previous file stays valid until the new one is complete, also where that fails."""
        try:
            self._write(self._bytes(snapshot), keep=True)
        except OSError as error:
            if not self.failed:
                found = f"step {snapshot.step:,} was not saved to {str(self.path)!r} ({error})"
                warnings.warn(
                    f"The checkpoint of {found}. The fit goes on without.", UserWarning, stacklevel=outside_stacklevel()
                )
            self.failed = True

    def _bytes(self, snapshot: Snapshot) -> bytes:
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
        arrays: dict[str, Any] = {"meta": np.asarray(json.dumps(meta)), "losses": tracker.losses, **leaves}
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    def _write(self, content: bytes, *, keep: bool) -> None:
        """Write the file under a name of its own, then put it in the place of the last one; or only try to."""
        temporary = self.directory / _TEMPORARY.format(uuid.uuid4().hex)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if keep:
                temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)

    def load(self, start: Snapshot) -> Snapshot | None:
        """Read the snapshot of this very fit, in the structure of ``start``; None where there is none.

        Raises
        ------
        ValueError
            If the file cannot be read, or belongs to another model, data set, optimiser or seed.
        """
        if not self.path.exists():
            return None
        with self._refusing():
            with self.path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                meta = json.loads(str(file["meta"]))
                arrays = {name: file[name] for name in file.files if name != "meta"}
            version, found = meta["version"], dict(meta["fingerprint"]) if meta["version"] == _VERSION else {}
        self._compare(version, found)
        with self._refusing():
            return _snapshot(meta, arrays, start)

    @contextlib.contextmanager
    def _refusing(self) -> Iterator[None]:
        try:
            yield
        except _UNREADABLE as error:
            msg = f"The checkpoint {str(self.path)!r} cannot be read ({error!r}). {_REMEDY}"
            raise ValueError(msg) from error

    def _compare(self, version: object, found: Mapping[str, Any]) -> None:
        if version != _VERSION:
            msg = f"The checkpoint {str(self.path)!r} was written by another version of scribe. {_REMEDY}"
            raise ValueError(msg)
        different = [name for name, value in self.fingerprint.items() if found.get(name) != value]
        if different:
            msg = (
                f"The checkpoint {str(self.path)!r} belongs to another fit: {', '.join(different)} "
                f"{'differs' if len(different) == 1 else 'differ'}. {_REMEDY}"
            )
            raise ValueError(msg)


def _snapshot(meta: Mapping[str, Any], arrays: Mapping[str, Any], start: Snapshot) -> Snapshot:
    """Snapshot of what a file holds; raises where that is not of the structure of ``start``."""
    current, structure = jax.tree.flatten((start.state, start.best))
    leaves = [_like(leaf, arrays[f"leaf_{i}"], f"leaf_{i}") for i, leaf in enumerate(current)]
    state, best = jax.tree.unflatten(structure, leaves)
    step, slow_down = _number(meta["step"], 0), _number(meta["slow_down"], 1.0)
    tracked = {name: _number(meta["tracker"][name], vars(start.tracker)[name]) for name in _TRACKED}
    if not (0 < slow_down <= 1 and 0 <= tracked["stage"] < len(RATES)):
        msg = f"slow_down={slow_down} and stage={tracked['stage']} are out of range"
        raise ValueError(msg)
    losses = _like(np.zeros(step), arrays["losses"], "losses")
    return Snapshot(
        state, best, replace(start.tracker, **tracked, losses=losses), step, _number(meta["retries"], 0), slow_down
    )


def _like(wanted: Any, found: Any, name: str) -> Any:
    """An array of the shape and type wanted, on the host or the device as that is."""
    if (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        msg = f"{name} is {found.dtype}{found.shape}, not {wanted.dtype}{wanted.shape}"
        raise ValueError(msg)
    return found if isinstance(wanted, np.ndarray) else jnp.asarray(found)


def _number(found: Any, like: Any) -> Any:
    """A number, or numbers, of the kind of another: whole and not negative, or real."""
    if isinstance(like, Sequence):
        return tuple(_number(one, 0.0) for one in list(found))
    whole = isinstance(like, int)
    if isinstance(found, bool) or not isinstance(found, int if whole else Real) or (whole and found < 0):
        msg = f"{found!r} is not a {'whole number' if whole else 'number'}"
        raise ValueError(msg)
    if math.isnan(found):
        msg = "a number is missing"
        raise ValueError(msg)
    return found
