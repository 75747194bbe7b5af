"""Progress bars that follow `settings.progress_bar`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scribe._settings import settings


class Progress:
    """What a running loop tells its tqdm bar; says nothing where there is none."""

    def __init__(self, bar: Any | None) -> None:
        self._bar = bar

    def update(self, n: int = 1, **postfix: float | str) -> None:
        """Advance the bar by ``n`` units and show values such as ``elbo=...`` after the rate."""
        if self._bar is not None:
            self._bar.set_postfix(postfix, refresh=False)
            self._bar.update(n)


@contextmanager
def progress(total: int | None, *, desc: str, unit: str = "it", enabled: bool | None = None) -> Iterator[Progress]:
    """Show a progress bar for the length of a `with` block and yield the handle to `update` it.

    ``total`` is the number of units to do, None where it is not known; ``desc`` says what is done, ``unit`` names one.
    With ``enabled=None`` the bar is shown as `settings.progress_bar` says, by default only in a terminal or a notebook.
    """
    wanted = settings.progress_bar if enabled is None else enabled
    if not (_is_watched() if wanted is None else wanted):
        yield Progress(None)
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=desc, unit=unit, dynamic_ncols=True) as bar:
        yield Progress(bar)


def _is_watched() -> bool:
    """Whether someone sees the bar move: stderr is a terminal, or the code runs in a notebook."""
    if sys.stderr is not None and sys.stderr.isatty():
        return True
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in shell.config
