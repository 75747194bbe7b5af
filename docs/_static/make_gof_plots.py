"""Draw the plots of the page on checking a fit; takes the path of ``pbmc_facs.h5ad``."""

import sys
from pathlib import Path

import anndata

import scribe

HERE = Path(__file__)

adata = anndata.read_h5ad(sys.argv[1])
scribe.tl.fit(adata)
scribe.tl.gof(adata)
scribe.pl.gof(adata, show=False, save=HERE.with_name("gof.png"))
scribe.pl.gof_scores(adata, show=False, save=HERE.with_name("gof_scores.png"))
