from __future__ import annotations

import importlib.metadata
import os
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

project = "scribe"
author = "scribe developers"
project_copyright = "2026, scribe developers"
release = importlib.metadata.version("scribe-bayes")
version = release

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "myst_nb",
    "numpydoc",
]
# autosummary writes its stubs under the first suffix
source_suffix = {".rst": "restructuredtext", ".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]

default_role = "literal"  # docstrings put code in single back-ticks
smartquotes = False  # names of slots hold quotes
autosummary_generate = True
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_render_markdown_format = "gfm"  # tables among the outputs
os.environ["SCRIBE_PROGRESS_BAR"] = "false"  # kernels inherit it
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"  # tqdm looks for widgets, which pages have not

nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"\w+"),  # names imported for typing only, which autodoc cannot look up
    ("py:class", r"(jax|jaxlib|numpyro|optax|flax)\..*"),
    ("py:class", r"[\w.]+\._\w+\..*|scribe\._.*|scribe\.\w+\.\w+\.\w+|pandas\.core\..*"),  # homes of public classes
    (r"py:(class|obj)", r"(typing\.)?(Literal|Callable|Mapping)\[.*"),  # types that autodoc cuts at their commas
    ("py:class", r".*TypeVar.*|collections\.abc\..*"),
]
intersphinx_mapping = {
    "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
    "matplotlib": ("https://matplotlib.org/stable/", None),
    "mudata": ("https://mudata.readthedocs.io/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "pandas": ("https://pandas.pydata.org/docs/", None),
    "python": ("https://docs.python.org/3/", None),
    "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
    "scipy": ("https://docs.scipy.org/doc/scipy/", None),
    "xarray": ("https://docs.xarray.dev/en/stable/", None),
}

html_theme = "sphinx_book_theme"
html_title = "scribe"
html_theme_options = {"show_toc_level": 2, "home_page_in_toc": True}

if tags.has("quick"):  # noqa: F821 - Sphinx defines it: tutorials do not run and nothing is read from the network
    nb_execution_mode = "off"
    suppress_warnings = ["myst-nb.lexer"]  # the language of cells is known from a kernel
    nitpick_ignore_regex.append((r"py:.*", rf"({'|'.join(intersphinx_mapping)}|pathlib)\..*"))
    intersphinx_mapping = {}


def include_tutorials() -> None:
    """Copy the tutorials of the top level beside the guide, where Sphinx finds them; links follow."""
    target = HERE / "tutorials"
    target.mkdir(exist_ok=True)
    for source in sorted((HERE.parent / "tutorials").glob("*.md")):
        text, copy = source.read_text("utf-8").replace("](../docs/", "](../"), target / source.name
        if not copy.exists() or copy.read_text("utf-8") != text:
            copy.write_text(text, "utf-8")


def literal_slots(*event: Any) -> None:
    """Print names in back-ticks as code, which numpydoc makes bold, back-ticks and all."""
    lines = event[-1]
    lines[:] = [re.sub(r"^(\s*)\*\*(``.+``)\*\*", r"\1\2", line) for line in lines]


def setup(app: Any) -> None:
    include_tutorials()
    app.connect("autodoc-process-docstring", literal_slots, priority=900)  # numpydoc comes before
