"""Groups that are numbers or truth values, in every verb, getter and plot; a comparison under a name of its own."""

from __future__ import annotations

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

import scribe

pytestmark = [
    pytest.mark.loose_promotion,
    pytest.mark.filterwarnings("ignore:.*errors are those of these cells"),
    pytest.mark.filterwarnings("ignore:In .* of .* comparisons"),
]

N_CELLS, N_GENES = 120, 8
DE_PLOTS = ("volcano", "ma", "de_mean_expression", "de_evidence", "de_mask_threshold")


def quick(adata: ad.AnnData, **options) -> ad.AnnData:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", scribe.ConvergenceWarning)
        scribe.tl.fit(adata, "poisson", **{"n_steps": 40, "early_stopping": False, **options})
    return adata


@pytest.fixture(scope="module")
def adata() -> ad.AnnData:
    """Clusters 2, 10 and 11, as integers, as numbers with gaps and as truth values; a fit that tells them apart."""
    rng = np.random.default_rng(0)
    cluster = np.array([2, 10, 11])[np.arange(N_CELLS) % 3]
    counts = rng.poisson(rng.gamma(2, 2, (12, N_GENES))[cluster]).astype(np.float32)
    obs = pd.DataFrame({"cluster": cluster, "high": cluster > 2, "nullable": pd.array(cluster, "Int64")})
    obs["gaps"] = obs["cluster"].astype(float).where(np.arange(N_CELLS) % 7 > 0)
    made = ad.AnnData(counts, obs=obs.set_index("c" + obs.index.astype(str)))
    quick(made, dataset_key="cluster", dataset_params="mean", key_added="p")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        scribe.tl.de(made, "cluster", group=[10, np.int64(2), 10.0], reference=11, key="p", n_samples=50)
        scribe.tl.de(made, "cluster", group=10, key="p", key_added="mine", n_samples=50, min_lfc=0.5)
    return made


def test_a_group_is_one_however_often_it_is_named(adata, through_file) -> None:
    table = scribe.get.de(through_file(adata), key="p")
    assert list(table["group"].unique()) == ["10", "2"]
    assert set(table["reference"]) == {"11"}
    assert len(table) == 2 * N_GENES


@pytest.mark.parametrize("group", [2, 2.0, np.int32(2), "2"])
def test_one_group_of_a_table(adata, group) -> None:
    assert set(scribe.get.de(adata, key="p", group=group)["group"]) == {"2"}
    for several in ([10, group], np.array([group, "10"], object), pd.Series([group, group, 10])):
        assert set(scribe.get.de(adata, key="p", group=several)["group"]) == {"2", "10"}
    with pytest.raises(KeyError, match="No group '3' was compared"):
        scribe.get.de(adata, key="p", group=3)


@pytest.mark.parametrize("name", DE_PLOTS)
def test_plots_take_numbers_and_find_a_comparison_by_its_name(adata, name) -> None:
    draw = getattr(scribe.pl, name)
    assert len(np.ravel(draw(adata, groups=[2, 10, 2], key="p"))) == 2
    assert len(np.ravel(draw(adata, groups=2, key="p"))) == 1
    assert "10 vs rest" in np.ravel(draw(adata, key_added="mine"))[0].get_title()
    with pytest.raises(KeyError, match=r"There are no comparisons of \['3'\], but of 10, 2"):
        draw(adata, groups=3, key="p")
    plt.close("all")


def test_a_comparison_under_a_name_of_its_own(adata, through_file) -> None:
    for made in (adata, through_file(adata)):
        found = scribe.get.de(made, key_added="mine")
        assert set(found["reference"]) == {"rest"}
        pd.testing.assert_frame_equal(found, scribe.get.de(made, key="p", key_added="mine"))
        pd.testing.assert_frame_equal(scribe.get.de(made, key_added="p_de"), scribe.get.de(made, key="p"))
    with pytest.raises(KeyError, match=r"No result of scribe.tl.de in adata.uns\['min'\]. Did you mean 'mine'\?"):
        scribe.get.de(adata, key_added="min")


def test_the_rest_is_no_group(adata) -> None:
    with pytest.raises(ValueError, match=r"'rest' is no group of adata.obs\['cluster'\]. It names all other groups"):
        scribe.tl.de(adata, "cluster", group="rest", reference=2, key="p")
    made = adata.copy()
    made.obs["named"] = pd.Categorical(made.obs["cluster"].map({2: "T", 10: "rest", 11: "rest"}))
    quick(made, dataset_key="named", dataset_params="mean", key_added="named")
    scribe.tl.de(made, "named", key="named", n_samples=20)
    table = scribe.get.de(made, key="named")
    assert list(table["group"].unique()) == ["T", "rest"], "a group of this name is compared with the others as any"


@pytest.mark.parametrize(("column", "labels"), [("nullable", ["2", "10", "11"]), ("gaps", ["2", "10", "11"])])
def test_numbers_of_any_type_have_the_labels_of_integers(adata, column, labels) -> None:
    made = adata.copy()
    scribe.tl.ppc(made, groupby=column, key="p", n_samples=4, n_genes=2)
    bands = made.uns["p_ppc"]["bands"]
    assert list(bands["group"].unique()) == labels
    assert len(np.ravel(scribe.pl.ppc(made, groups=[11, 2.0, 11], key="p"))) == 2 * bands["gene"].nunique()
    plt.close("all")


def test_truth_values(adata) -> None:
    made = quick(adata[:, :4].copy(), key_added="t")
    scribe.tl.ppc(made, groupby="high", key="t", n_samples=4, n_genes=1)
    assert scribe.pl.ppc(made, groups=True, key="t").size == 1
    scribe.tl.de(made, "high", group=True, reference=False, key="t", n_samples=20)
    assert set(scribe.get.de(made, key="t", group=True)["group"]) == {"True"}
    assert scribe.pl.volcano(made, groups=np.bool_(True), key="t")[0].get_title() == "True vs False"
    plt.close("all")


def test_datasets_and_components_by_their_labels(adata) -> None:
    results = scribe.get.results(adata, key="p")
    numbers = {label: number for number, label in enumerate(results.spec.levels["dataset"].labels)}
    for label in (2, 10, np.int64(11), 2.0, "10"):
        number = numbers[str(int(label))]
        np.testing.assert_array_equal(results.get_dataset(label).get_map()["mu"], results.get_map()["mu"][number])
    assert results.get_dataset(np.int64(1)).posterior.chosen == {"dataset": 1}, "numbers, where no label reads so"
    with pytest.raises(KeyError, match="There is no dataset 3"):
        results.get_dataset(3)
    about = {"method": "empirical", "n_samples": 20}
    first, second = (
        scribe.compare_datasets(results, 2, 11, **about),
        scribe.compare_datasets(results, "2", "11", **about),
    )
    np.testing.assert_array_equal(first.law.mean, second.law.mean)


def test_annotations_that_are_numbers(adata) -> None:
    made = quick(adata.copy(), annotation_key="cluster", annotation_component_order=[11, 2, 10], key_added="m")
    results = scribe.get.results(made, key="m")
    assert results.spec.levels["component"].labels == ("11", "2", "10")
    assert results.get_component(2).posterior.chosen == {"component": 1}
    assert scribe.match_components_by_label(results, results, 10) == (2, 2)
    scribe.tl.de(made, "cluster", group=2, reference=11, key="m", n_samples=20)
    assert set(scribe.get.de(made, key="m", group=[2])["group"]) == {"2"}
    one = made.copy()
    quick(one, annotation_key=["cluster"], key_added="m")
    scribe.tl.de(one, "cluster", group=2, reference=11, key="m", n_samples=20)
