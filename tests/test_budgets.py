"""Every row has a configuration under every budget, and it is the one that the row means."""

from dataclasses import replace
from typing import Any

import pytest

from index.errors import InvalidValue
from model_export.network.mvan import MVANConfig
from model_export.reproducing.budgets import BUDGETS, SPLITS, chosen_budget
from model_export.reproducing.tables import TABLES, trained_rows
from model_export.training.configuration import as_mapping

THREE, TWO = ("front", "rear", "side"), ("front", "rear")
ROWS = {row.name: row for row in trained_rows(tuple(TABLES.values()))}


@pytest.mark.parametrize("budget", sorted(BUDGETS))
@pytest.mark.parametrize("viewpoints", [THREE, TWO])
def test_rows_of_a_budget_differ_from_mvan_in_what_their_title_says(budget: str, viewpoints: tuple[str, ...]) -> None:
    chosen = chosen_budget(budget)
    mvan = as_mapping(chosen.training(ROWS["split-4-glam"], viewpoints=viewpoints))
    for row in ROWS.values():
        if row.kept >= len(viewpoints):
            continue
        config = as_mapping(chosen.training(row, viewpoints=viewpoints))
        changed = {key for key in config if config[key] != mvan[key]} - {"name", "model", *row.training}
        assert row.starts_from != "first" or changed <= {"vnet"}, row.name
        shape = {key for key, value in config["model"].items() if value != mvan["model"][key]}
        expected = {key for key, value in row.model.items() if value != "glam"}
        expected |= {"split"} if row.split_after != 4 else {"kept_views"} if row.kept else set()
        assert row.starts_from != "first" or shape == expected, row.name
        assert (config["vnet"] is None) == (row.model.get("viewpoints") == ("any",))
    vnet = chosen.vnet_training(viewpoints=viewpoints)
    for key in ("vnet", "vnet_size", "vnet_standardized"):
        assert as_mapping(vnet.model)[key] == mvan["model"][key]


@pytest.mark.parametrize("budget", sorted(BUDGETS))
def test_each_part_of_the_stronger_recipe_is_in_it_and_left_out_alone(budget: str) -> None:
    chosen = chosen_budget(budget)
    whole = _flat(as_mapping(chosen.training(ROWS["strong"], viewpoints=THREE)))
    assert whole["vnet"] is None
    for row in TABLES[7].rows[1:]:
        own = _flat(as_mapping(chosen.training(row, viewpoints=THREE)))
        changed = {key for key in own if own[key] != whole[key]} - {"name"}
        named = {override.partition("=")[0] for override in row.overrides}
        assert changed == (named or {"model.input_size"}), row.name
    smaller = chosen.training(ROWS["strong-smaller"], viewpoints=THREE).model.input_size
    assert smaller == {"small": 48, "medium": 128, "full": 192}[budget]


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """By key, ``part.key`` for those of a part."""
    flat: dict[str, object] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def test_the_full_budget_is_the_papers_recipe() -> None:
    full = chosen_budget("full")
    mvan = full.training(ROWS["split-4-glam"], viewpoints=THREE)
    assert mvan.model == replace(MVANConfig(), split="conv5", routing_threshold=0.0)
    assert full.training(ROWS["second-mvan"], viewpoints=THREE).fit.learning_rate == 0.01
    assert full.training(ROWS["baseline-2"], viewpoints=THREE).model.split == "conv1"
    assert full.training(ROWS["split-2-gam"], viewpoints=THREE).model.split == "conv3"
    [source] = full.training(ROWS["split-4-glam"], viewpoints=TWO).sources
    assert (source.p, source.k) == (8, 2)


def test_any_key_is_overridden_and_a_wrong_one_named() -> None:
    small = replace(chosen_budget("small"), overrides=("fit.iterations=7",), vnet_overrides=("batch=3",))
    for name in ("baseline-1", "second-mvan"):
        assert small.training(ROWS[name], viewpoints=THREE).fit.iterations == 7
    assert small.vnet_training(viewpoints=THREE).batch == 3
    with pytest.raises(InvalidValue, match=r"fit\.iteration is not known"):
        replace(small, overrides=("fit.iteration=7",)).training(ROWS["baseline-1"], viewpoints=THREE)
    with pytest.raises(InvalidValue, match="'tiny' has no splits for the tables"):
        replace(small, overrides=("model.backbone=tiny",)).training(ROWS["baseline-1"], viewpoints=THREE)
    with pytest.raises(InvalidValue, match="--budget 'large' is not one of small, medium, full"):
        chosen_budget("large")
    assert set(SPLITS) > {"vgg16", "resnet50"}
