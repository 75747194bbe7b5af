"""Tables of differential expression."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from anndata import AnnData

from scribe._adata.slots import read_derived
from scribe._compare.gene_sets import read_gmt
from scribe._model.checks import nearest
from scribe._model.keywords import verb
from scribe._model.labels import as_labels
from scribe._types import Labels

__all__ = ["de", "gene_sets"]


@verb
def de(
    adata: AnnData,
    *,
    group: Labels | None = None,
    key: str = "scribe",
    key_added: str | None = None,
    only_de: bool = False,
) -> pd.DataFrame:
    """Table of differential expression that :func:`scribe.tl.de` wrote.

    Parameters
    ----------
    adata
        Annotated data with a comparison.
    group
        Group or groups to return; None returns all.
    key_added
        Name of the comparison, of whichever fit it is; ``key + '_de'`` unless given.
    only_de
        Return only genes in ``is_de``, those with the largest absolute fold change first.

    Returns
    -------
    One row per group and gene; the columns are described in :func:`scribe.tl.de`, and ``attrs`` say what is positive
    and in which unit.

    Raises
    ------
    KeyError
        If there is no such comparison or group.

    Examples
    --------
    >>> import scribe
    >>> adata = scribe.datasets.pbmc68k_counts()
    >>> scribe.tl.fit(adata, dataset_key="bulk_labels", dataset_params="mean")
    >>> scribe.tl.de(adata, "bulk_labels", group="CD19+ B")
    >>> table = scribe.get.de(adata, only_de=True)
    """
    table: pd.DataFrame = read_derived(adata, key=key, name="de", verb="de", place=key_added)["table"]
    known = list(dict.fromkeys(table["group"].astype(str)))
    wanted = known if group is None else as_labels(group)
    for label in wanted:
        if label not in known:
            msg = f"No group {label!r} was compared.{nearest(label, known)} There are: {', '.join(known)}."
            raise KeyError(msg)
    rows = table[table["group"].isin(wanted)]
    if only_de:
        called = rows[rows["is_de"]]
        rows = called.loc[called["lfc_mean"].abs().sort_values(ascending=False).index]
    found = rows.reset_index(drop=True)
    found.attrs = {"positive": "higher in group than in reference", "unit": "log2 fold change"}
    return found


@verb
def gene_sets(path: Path | str) -> dict[str, list[str]]:
    r"""Read sets of genes from a .gmt file, such as those of MSigDB.

    Parameters
    ----------
    path
        File with one line per set: its name, a description and its genes, separated by tabs.

    Returns
    -------
    Genes by the name of the set, for ``gene_sets`` of :func:`scribe.tl.de`.

    Raises
    ------
    ValueError
        If a line is not of that form, or a name comes twice.

    Examples
    --------
    >>> from pathlib import Path
    >>> import scribe
    >>> _ = Path("sets.gmt").write_text("ribosome\tproteins of the small subunit\tRPS2\tRPS3\tRPS4X\n")
    >>> scribe.get.gene_sets("sets.gmt")
    {'ribosome': ['RPS2', 'RPS3', 'RPS4X']}
    """
    return read_gmt(path)
