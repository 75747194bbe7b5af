"""The contract of an engine: what it is given, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Self

from scribe._counts.container import Counts
from scribe._counts.design import Design
from scribe._model.spec import ModelSpec
from scribe._types import AnyArray, FloatArray, Params
from scribe.engines.outcome import Outcome
from scribe.guides import Approximation, Guide, MeanField

__all__ = ["Engine", "Fitted", "Points", "State", "Task"]


class State(NamedTuple):
    """What the next step of a loop needs: the parameters, and a memory of whatever kind."""

    params: Params
    memory: Any


Points = Sequence[Mapping[str, AnyArray]]
"""Values of all parameters on the real line, at several points."""


@dataclass(frozen=True)
class Task:
    """A model, the counts that it is of with the covariates of their cells, and the guide, for engines that have one.

    ``near`` are draws of the parameters from something like the posterior, where there is an earlier fit of the model.
    """

    spec: ModelSpec
    counts: Counts
    guide: Guide = field(default_factory=MeanField)
    design: Design = field(default_factory=Design)
    near: Points | None = None


@dataclass(frozen=True)
class Fitted:
    """What an engine returns.

    ``approximation`` stands for the posterior, a guide or draws, and ``params`` are its arrays, those of cells with
    one row per cell. ``verdict`` tells how the fit ended, and ``history`` what else there is to keep of it, numbers and
    arrays by name: the ``loss`` of every step, the statistics of chains.
    """

    approximation: Approximation
    params: Mapping[str, Any]
    verdict: Outcome
    history: Mapping[str, Any]
    seed: int

    @property
    def losses(self) -> FloatArray:
        """Loss of every step in nats, NaN where one was skipped, of engines that make steps."""
        losses: FloatArray = self.history["loss"]
        return losses


class Engine(ABC):
    """Infers the posterior of a model. Engines are frozen dataclasses of their settings."""

    name: ClassVar[str]
    """Under which users and files know it."""
    double: ClassVar[bool] = False
    """Whether it computes in 64 bits unless told otherwise."""
    continues: ClassVar[bool] = False
    """Whether it goes on from where an earlier fit of its own ended."""
    verdict: ClassVar[type[Outcome]] = Outcome
    """What it says of how a fit ended."""

    @classmethod
    @abstractmethod
    def from_options(cls, options: Mapping[str, Any]) -> Self:
        """Engine of the flat keywords, which are complete."""

    @abstractmethod
    def fit(self, task: Task, *, seed: int, start: Fitted | None = None) -> Fitted:
        """Fit the model of a task; ``start`` is a fit of the same task to continue."""
