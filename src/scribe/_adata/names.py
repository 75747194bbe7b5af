"""Names of the slots of a fit: the only file that knows them."""

from __future__ import annotations

from scribe._model.spec import ModelSpec
from scribe.priors import LATENT_SUFFIX

__all__ = ["AXIS_SLOT", "KNOWN", "Slots", "check_name"]

KNOWN = "_prior"
"""What follows the name of a parameter in that of the slot of what an earlier fit says of it."""

AXIS_SLOT = {"gene": "varm", "cell": "obsm"}
"""Where arrays along an axis are kept."""


class Slots:
    """Names of the slots of one key."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.params = self.of("params")  # varm: table of posterior summaries per gene
        self.capture = self.of("capture")  # obs: posterior mean of the capture probability
        self.capture_sd = self.of("capture_sd")  # obs: its posterior standard deviation
        self.total = self.of("total")  # obs: total count of the cell in the genes that were fitted
        self.dataset = self.of("dataset")  # obs: dataset of the cell
        self.component = self.of("component")  # obs: most probable component of the cell
        self.responsibilities = self.of("responsibilities")  # obsm: posterior probability of every component
        self.logits = self.of("annotation_logits")  # obsm: log prior odds of every component, from annotations
        self.denoised = self.of("denoised")  # layers or obsm: denoised counts

    def of(self, name: str) -> str:
        """Name of a slot that holds ``name``."""
        return f"{self.key}_{name}"

    def ppc(self, score: str) -> str:
        """``.var`` and ``.obs``: one score of the posterior predictive check."""
        return self.of(f"ppc_{score}")

    def gof(self, score: str) -> str:
        """``.var`` and ``.obs``: one score of the residuals."""
        return self.of(f"gof_{score}")

    def of_fit(self, spec: ModelSpec, *, logits: bool) -> dict[str, list[str]]:
        """Every slot of a fit of this model, attribute -> names; ``logits`` are there with annotations."""
        captured, mixed = spec.capture_site is not None, "component" in spec.levels
        obs = {self.capture: captured, self.capture_sd: captured, self.dataset: "dataset" in spec.levels}
        obs |= {self.total: True, self.component: mixed}
        obsm = {self.responsibilities: mixed, self.logits: logits}
        named = {"obs": [n for n, has in obs.items() if has], "obsm": [n for n, has in obsm.items() if has]}
        named["varm"] = [self.params]
        slots = {latent.name.removesuffix(LATENT_SUFFIX): latent.axes for latent in spec.latents}
        slots |= {name + KNOWN: spec.site(name).axes for name in spec.informed}
        for name, axes in slots.items():
            for axis in set(axes) & set(AXIS_SLOT):
                named[AXIS_SLOT[axis]].append(self.of(name))
        return named

    def of_derived(self, kind: str, place: str, names: dict[str, list[str]]) -> dict[str, list[str]]:
        """Those of the slots ``names`` that a result of some kind in ``uns[place]`` may have."""
        own = {place, self.of(kind)}
        more = {self.component, self.of("entropy"), self.responsibilities, self.of("composition")}

        def may_have(attribute: str, name: str) -> bool:
            if attribute == "uns":
                return name == place
            return name in own | more or name.startswith(tuple(f"{stem}_" for stem in own))

        of_cells_and_genes = ("obs", "var", "obsm", "varm", "layers", "uns")
        known = {attribute: named for attribute, named in names.items() if attribute in of_cells_and_genes}
        return {attribute: [n for n in named if may_have(attribute, n)] for attribute, named in known.items()}


def check_name(name: str, *, what: str = "key_added") -> None:
    """Raise where a file cannot hold a slot of this name."""
    if not isinstance(name, str) or "/" in name or not name:
        msg = f"{what}={name!r} must be a name without '/'."
        raise ValueError(msg)
