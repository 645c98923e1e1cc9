"""The table of methods is what a recipe may name, and each method differs from the others."""

from dataclasses import replace
from typing import get_args

from hub_trainer.recipe import TrainSection
from hub_trainer.recipe.method_table import METHODS


def test_methods_when_a_recipe_names_one_then_exactly_those_of_the_table_are_legal() -> None:
    assert get_args(TrainSection.model_fields["method"].annotation) == tuple(METHODS)


def test_methods_when_compared_then_no_two_have_the_same_facts() -> None:
    facts = {replace(method, name="full", learned="") for method in METHODS.values()}
    assert len(facts) == len(METHODS)
