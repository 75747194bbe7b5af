"""Denoised values are not counts: where they lie is on record, and nothing is fitted to them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from anndata import AnnData

__all__ = ["computed_layers", "refuse_computed_layer"]


def computed_layers(adata: AnnData) -> dict[str, str]:
    """Layers that were computed from a fit, and the record in ``uns`` of each."""
    found: dict[str, str] = {}
    for name, record in adata.uns.items():
        if isinstance(record, Mapping) and {"derived_from", "slots"} <= set(record):
            found |= dict.fromkeys(json.loads(record["slots"]).get("layers", []), name)
    return found


def refuse_computed_layer(adata: AnnData, layer: str | None) -> None:
    """Raise where ``layer`` was computed from a fit, by `scribe.tl.denoise`.

    A fit to such values would find less noise and more correlation than the data have, whatever it says of itself.
    """
    computed = computed_layers(adata)
    if layer in computed:
        msg = (
            f"layers[{layer!r}] was computed from the fit {adata.uns[computed[layer]]['derived_from']!r} by "
            f"scribe.tl.denoise (see adata.uns[{computed[layer]!r}]): denoised values are not counts, and a fit to "
            "them understates the noise. Fit the raw counts: leave out layer for adata.X, or name their layer."
        )
        raise ValueError(msg)
