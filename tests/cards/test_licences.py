"""The licence table: each row is a question with the answer that a maintainer would give."""

import pytest

from hub_trainer.cards.licences import (
    CONDITIONS,
    LicensedWork,
    decide_licence,
    licence_names,
)


def base(*licenses: str) -> LicensedWork:
    return LicensedWork("base model", "org/base", licenses)


def data(*licenses: str) -> LicensedWork:
    return LicensedWork("dataset", "org/data", licenses)


ALLOWED = [
    ("apache-2.0", [base("apache-2.0"), data("mit")]),
    ("apache-2.0", [base("mit"), data("cc-by-4.0")]),
    ("mit", [base("apache-2.0"), data("cc0-1.0")]),
    ("mit", [data("cc-by-4.0")]),
    ("cc-by-nc-4.0", [base("apache-2.0"), data("cc-by-nc-4.0")]),
    ("cc-by-nc-sa-4.0", [base("apache-2.0"), data("cc-by-nc-4.0")]),
    ("cc-by-nc-sa-4.0", [data("cc-by-nc-sa-3.0")]),
    ("cc-by-sa-4.0", [base("cc-by-sa-3.0")]),
    ("gpl-3.0", [base("lgpl-3.0")]),
    ("agpl-3.0", [base("gpl-3.0")]),
    ("llama3", [base("llama3"), data("mit")]),
    ("gemma", [base("gemma"), data("cc-by-4.0")]),
    ("openrail", [base("openrail")]),
    ("apache-2.0", [base("apache-2.0"), data("cc-by-sa-4.0")]),
    ("apache-2.0", [base("apache-2.0"), data()]),
    ("apache-2.0", [base(), data("unknown")]),
    ("other", [base("llama3"), data("cc-by-nc-nd-4.0")]),
]
REFUSED = [
    ("apache-2.0", [data("cc-by-nc-4.0")], "forbids commercial use"),
    ("mit", [base("mit"), data("cc-by-nc-sa-4.0")], "forbids commercial use"),
    ("cc-by-4.0", [base("cc-by-nc-2.0")], "forbids commercial use"),
    ("apache-2.0", [data("cc-by-nd-4.0")], "lets nobody share"),
    ("cc-by-nc-nd-4.0", [data("cc-by-nc-nd-4.0")], "lets nobody share"),
    ("cc-by-nc-4.0", [base("cc-by-nc-nd-4.0")], "lets nobody share"),
    ("mit", [base("gpl-3.0")], "must be shared alike"),
    ("apache-2.0", [base("cc-by-sa-4.0")], "must be shared alike"),
    ("gpl-3.0", [base("agpl-3.0")], "must be shared alike"),
    ("apache-2.0", [base("llama3.1")], "hands its terms on"),
    ("mit", [base("gemma"), data("mit")], "hands its terms on"),
    ("apache-2.0", [base("openrail")], "hands its terms on"),
    ("apache-2.0", [base("apache-2.0"), data("mit", "cc-by-nc-4.0")], "forbids commercial use"),
]
CHOSEN = [
    ("apache-2.0", [base("apache-2.0"), data("mit")]),
    ("mit", [data("mit")]),
    ("cc-by-nc-4.0", [base("apache-2.0"), data("cc-by-nc-4.0")]),
    ("llama3", [base("llama3"), data("cc-by-4.0")]),
    ("cc-by-4.0", [base(), data("cc-by-4.0")]),
    ("gpl-3.0", [base("gpl-3.0"), data("cc0-1.0")]),
    ("unknown", [base(), data()]),
    ("unknown", [data("other")]),
]


@pytest.mark.parametrize(("license", "works"), ALLOWED)
def test_licence_when_every_source_allows_it_then_no_problem(
    license: str, works: list[LicensedWork]
) -> None:
    assert decide_licence(license, works).problems == ()
    assert decide_licence(license, works).license == license


@pytest.mark.parametrize(("license", "works", "reason"), REFUSED)
def test_licence_when_a_source_forbids_it_then_the_problem_names_it(
    license: str, works: list[LicensedWork], reason: str
) -> None:
    (problem,) = decide_licence(license, works).problems
    assert reason in problem
    assert "org/" in problem


@pytest.mark.parametrize(("license", "works"), CHOSEN)
def test_licence_when_none_is_asked_for_then_the_first_that_suits_all(
    license: str, works: list[LicensedWork]
) -> None:
    decision = decide_licence(None, works)
    assert decision.license == license
    assert decision.problems == ()


def test_licence_when_no_source_suits_the_others_then_every_clash_is_told() -> None:
    decision = decide_licence(None, [base("gpl-3.0"), data("cc-by-nc-4.0")])
    assert decision.license == "gpl-3.0"
    assert decision.problems == (
        "dataset org/data is cc-by-nc-4.0, which forbids commercial use, and gpl-3.0 does not",
    )


def test_licence_when_unstated_then_a_warning_and_no_problem() -> None:
    decision = decide_licence("mit", [base(), data("other")])
    assert decision.warnings == (
        "The base model org/base names no licence.",
        "The dataset org/data is under 'other', terms that only a person can judge.",
    )


def test_licence_when_data_is_to_be_shared_alike_then_a_warning() -> None:
    (warning,) = decide_licence("mit", [data("cc-by-sa-4.0")]).warnings
    assert "whether that reaches a model trained on it is not settled" in warning
    assert decide_licence("cc-by-sa-4.0", [data("cc-by-sa-3.0")]).warnings == ()


def test_licence_when_other_then_clashes_become_warnings() -> None:
    decision = decide_licence("other", [data("cc-by-nc-4.0")])
    assert decision.problems == ()
    assert "forbids commercial use" in decision.warnings[0]


def test_licence_names_when_a_card_gives_them_then_a_tuple_of_names() -> None:
    assert licence_names(None) == ()
    assert licence_names("MIT") == ("mit",)
    assert licence_names(["mit", "cc-by-4.0"]) == ("mit", "cc-by-4.0")


def test_table_when_read_then_every_licence_is_known_to_the_local_hub() -> None:
    from hub_trainer.local_hub.cards import LICENSES

    assert set(CONDITIONS) <= set(LICENSES)
