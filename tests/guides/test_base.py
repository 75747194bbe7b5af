"""Which latent an array of an approximation belongs to."""

from __future__ import annotations

import pytest

from scribe._adata.fits import _aligned
from scribe.guides import roles
from scribe.priors import Latent

LATENTS = (
    Latent("r_unconstrained", ("gene",)),
    Latent("r_unconstrained_scale", ()),
    Latent("scores_unconstrained", ("cell", "factor")),
)


def test_the_longest_name_that_fits():
    found = roles(["r_unconstrained_loc", "r_unconstrained_scale_loc", "scores_unconstrained_loc", "kernel"], LATENTS)
    assert {name: role.latent for name, role in found.items()} == {
        "r_unconstrained_loc": LATENTS[0],
        "r_unconstrained_scale_loc": LATENTS[1],
        "scores_unconstrained_loc": LATENTS[2],
        "kernel": None,
    }
    assert [role.kind for role in found.values()] == ["_loc", "_loc", "_loc", "kernel"]
    assert found["kernel"].axes == ()


def test_a_latent_of_cells_and_genes_is_never_stored():
    assert [_aligned(latent) for latent in LATENTS] == ["gene", None, "cell"]
    with pytest.raises(TypeError, match="never stored"):
        _aligned(Latent("noise_unconstrained", ("cell", "gene")))
