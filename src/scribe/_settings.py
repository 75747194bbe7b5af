"""Package-wide settings: one object, `scribe.settings`, checked when set and read where needed."""

from __future__ import annotations

import difflib
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import jax

logger = logging.getLogger("scribe")
logger.setLevel(logging.WARNING)

DETERMINISTIC_FLAG = "--xla_gpu_deterministic_ops=true"

_LEVELS = {name: getattr(logging, name.upper()) for name in ("critical", "error", "warning", "info", "debug")}
_SCANPY_LEVELS = {0: "error", 1: "warning", 2: "info", 3: "info", 4: "debug"}
_TRUE, _FALSE, _NONE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off"}, {"", "none", "auto"}


def _invalid(value: object, wanted: str) -> ValueError:
    return ValueError(f"{value!r} is not {wanted}")


def _level(value: object) -> str | int:
    """Canonical verbosity: a lower-case name, or a `logging` level between the named ones."""
    text = str(value).strip().lower()
    if text in _LEVELS:
        return text
    number = int(text) if text.isdecimal() and not isinstance(value, bool) else -1
    names = {level: name for name, level in _LEVELS.items()} | _SCANPY_LEVELS
    if number in names or number >= logging.DEBUG:
        return names.get(number, number)
    raise _invalid(value, f"one of {sorted(_LEVELS)}, a scanpy verbosity (0-4) or a logging level (>= 10)")


def _bool(value: object) -> bool:
    text = str(value).strip().lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise _invalid(value, "True or False")


def _device(value: object) -> str:
    text = str(value).strip().lower()
    if re.fullmatch(r"[a-z]+(:\d+)?", text):
        return text
    raise _invalid(value, "a JAX platform such as 'cpu' or 'gpu', or one device of it such as 'gpu:1'")


def _count(value: object) -> int:
    text = str(value).strip()
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise _invalid(value, "a positive whole number")


def _size(value: object) -> float:
    try:
        number = float(str(value))
    except ValueError:
        number = -1.0
    if number > 0:
        return number
    raise _invalid(value, "a positive number")


def _optional(check: Callable[[object], object]) -> Callable[[object], object]:
    def checked(value: object) -> object:
        return None if value is None or str(value).strip().lower() in _NONE else check(value)

    return checked


_CHECKS: Mapping[str, Callable[[object], object]] = {
    "verbosity": _level,
    "progress_bar": _optional(_bool),
    "device": _optional(_device),
    "deterministic": _bool,
    "batch_size": _optional(_count),
    "max_array_gb": _size,
}


class _Console(logging.Handler):
    """Messages on stderr that leave a running progress bar whole, silent where the user has set up logging."""

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.root.handlers:
            from tqdm import tqdm

            tqdm.write(self.format(record), file=sys.stderr)


def _apply_verbosity(level: str | int) -> None:
    logger.setLevel(_LEVELS[level] if isinstance(level, str) else level)
    if not logger.handlers:
        logger.addHandler(_Console())


def _apply_deterministic(*, on: bool) -> None:
    """Put the XLA flag in or out of `XLA_FLAGS`, which XLA reads once, when the backend starts."""
    flags = os.environ.get("XLA_FLAGS", "").split()
    if (DETERMINISTIC_FLAG in flags) == on:
        return
    bridge = sys.modules["jax._src.xla_bridge"]
    if set(bridge._backends) - {"cpu"}:
        if not on:
            return  # too late to change, and harmless
        msg = (
            "settings.deterministic=True has to be set before JAX starts its backend, which has already happened. "
            f"Start Python with XLA_FLAGS={DETERMINISTIC_FLAG} exported, or set it right after `import scribe`."
        )
        raise RuntimeError(msg)
    kept = [flag for flag in flags if flag != DETERMINISTIC_FLAG]
    os.environ["XLA_FLAGS"] = " ".join([*kept, DETERMINISTIC_FLAG] if on else kept)


@dataclass(kw_only=True)
class Settings:
    """Defaults for every verb; assign to `scribe.settings`, or use `override` for a while.

    Each value can also be set before import by the environment variable `SCRIBE_` + its name in capitals.
    Values are checked when they are set, and text is accepted where its meaning is plain (`"true"`, `"none"`).

    Attributes
    ----------
    verbosity
        How much the logger `scribe` says: `"error"`, `"warning"`, `"info"`, `"debug"`, scanpy's 0 to 4,
        or a level of `logging`. Messages go to stderr unless logging has been set up by the user.
    progress_bar
        Show progress bars. `None`: only in a terminal or a notebook.
    device
        JAX device of fits, such as `"cpu"`, `"gpu"` or `"gpu:1"`. `None`: JAX's default.
    deterministic
        Bit-identical results on GPU at some cost in speed; has to be set before JAX starts. The CPU always is.
    batch_size
        Cells per minibatch of fits that are given none. `None`: the full data.
    max_array_gb
        Largest dense array, in gigabytes, that a getter returns before it asks for a subset.
    """

    verbosity: str | int = "warning"
    progress_bar: bool | None = None
    device: str | None = None
    deterministic: bool = field(default_factory=lambda: DETERMINISTIC_FLAG in os.environ.get("XLA_FLAGS", ""))
    batch_size: int | None = None
    max_array_gb: float = 4.0

    def __setattr__(self, name: str, value: object) -> None:
        _known(name)
        try:
            checked = _CHECKS[name](value)
        except ValueError as error:
            msg = f"settings.{name}: {error}."
            raise ValueError(msg) from None
        if name in self.__dict__:  # the defaults themselves have no side effects
            if name == "verbosity" and isinstance(checked, (str, int)):
                _apply_verbosity(checked)
            elif name == "deterministic":
                _apply_deterministic(on=bool(checked))
        object.__setattr__(self, name, checked)

    @contextmanager
    def override(self, **values: object) -> Iterator[Settings]:
        """Set some values for the length of a `with` block.

        Parameters
        ----------
        **values
            Settings by name.

        Yields
        ------
        These settings.

        Examples
        --------
        >>> with settings.override(verbosity="info", progress_bar=False):
        ...     settings.progress_bar
        False
        """
        for name in values:
            _known(name)
        before = {name: self.__dict__[name] for name in values}
        try:
            for name, value in values.items():
                setattr(self, name, value)
            yield self
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def jax_device(self) -> jax.Device | None:
        """Look up the JAX device that `device` names, which starts the backend.

        Returns
        -------
        The device, or `None` where JAX is to choose.
        """
        if self.device is None:
            return None
        platform, _, index = self.device.partition(":")
        try:
            devices = jax.local_devices(backend=platform)
        except RuntimeError as error:
            here = sorted({device.platform for device in jax.local_devices()})
            error.add_note(f"settings.device={self.device!r}; this installation of JAX sees {here}.")
            raise
        if int(index or 0) >= len(devices):
            msg = f"settings.device={self.device!r}, but there are only {len(devices)} devices: {devices}."
            raise ValueError(msg)
        return devices[int(index or 0)]


def _known(name: str) -> None:
    if name not in _CHECKS:
        close = difflib.get_close_matches(name, _CHECKS, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Settings are {sorted(_CHECKS)}."
        msg = f"There is no setting {name!r}. {hint}"
        raise AttributeError(msg)


def _from_environment(environment: Mapping[str, str]) -> Settings:
    """Build settings with what `SCRIBE_*` variables say in place of the defaults."""
    made = Settings()
    for name in _CHECKS:
        variable = f"SCRIBE_{name.upper()}"
        if variable in environment:
            try:
                setattr(made, name, environment[variable])
            except ValueError as error:
                error.add_note(f"The value comes from the environment variable {variable}.")
                raise
    return made


settings = _from_environment(os.environ)
