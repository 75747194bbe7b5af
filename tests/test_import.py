"""`import scribe` is quiet: it starts no device, draws on no plotting library, and changes nothing but itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LOADED = """
import json, sys
import scribe
from jax._src import xla_bridge
print(json.dumps({"modules": sorted(sys.modules), "backends": sorted(xla_bridge._backends)}))
"""

# The libraries come first, since importing some of them changes warning filters: what is left is our own doing.
STATE = """
import json, logging, os, sys, warnings
import anndata, flax.nnx, jax, mudata, numpy, numpyro, optax, pandas, scipy.sparse, tqdm

def state():
    return {
        "jax": repr(sorted(jax.config.values.items())),
        "warnings": repr(warnings.filters),
        "handlers": repr(logging.root.handlers) + str(logging.root.level),
        "own handlers": repr(logging.getLogger("scribe").handlers),
        "numpy errors": repr(numpy.geterr()) + repr(numpy.get_printoptions()),
        "numpy random": repr(numpy.random.get_state()),
        "pandas": repr([pandas.get_option(name) for name in ("display.max_rows", "display.max_columns")]),
        "environment": repr(sorted(os.environ.items())),
        "hooks": repr((sys.excepthook, sys.displayhook, sys.path)),
    }

before = state()
import scribe
after = state()
print(json.dumps([name for name in before if before[name] != after[name]]))
"""


def _fresh_python(code: str):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def loaded():
    return _fresh_python(LOADED)


def test_no_backend_starts(loaded):
    assert loaded["backends"] == []


@pytest.mark.parametrize("heavy", ["matplotlib", "scanpy", "seaborn", "sklearn", "numba"])
def test_heavy_libraries_stay_out(loaded, heavy):
    assert [name for name in loaded["modules"] if name.split(".")[0] == heavy] == []


def test_no_global_state_changes():
    assert _fresh_python(STATE) == []
