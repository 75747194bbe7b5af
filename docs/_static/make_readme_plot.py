"""Draw the plot of the README; run as ``python docs/_static/make_readme_plot.py``."""

from pathlib import Path

import scribe

GENES = ["CD160", "CD40LG", "CXCR4", "SRSF2", "TIMP1", "CD79A", "NKG7", "LYZ"]

adata = scribe.datasets.pbmc68k_counts()
scribe.tl.fit(adata, parameterization="mean_disp")
scribe.tl.ppc(adata, genes=GENES)
scribe.pl.ppc(adata, show=False, save=Path(__file__).with_name("readme.png"))
