"""`import scribe` is quiet: it starts no device, draws on no plotting library, and changes nothing but itself."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

# The libraries come first, since importing some of them changes warning filters: what is left is our own doing.
CODE = """
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
from jax._src import xla_bridge
changed = [name for name in before if before[name] != after[name]]
print(json.dumps({"modules": sorted(sys.modules), "backends": sorted(xla_bridge._backends), "changed": changed}))
"""


@pytest.fixture(scope="module")
def imported():
    """What an import leaves behind in a fresh process."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


def test_no_backend_starts(imported):
    assert imported["backends"] == []


@pytest.mark.parametrize("heavy", ["matplotlib", "scanpy", "seaborn", "sklearn", "numba"])
def test_heavy_libraries_stay_out(imported, heavy):
    assert [name for name in imported["modules"] if name.split(".")[0] == heavy] == []


def test_no_global_state_changes(imported):
    assert imported["changed"] == []
