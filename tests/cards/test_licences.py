"""The licence table: each row is a question with the answer that a maintainer would give."""

from pathlib import Path

import pytest
import yaml

from hub_trainer.cards.licences import (
    CONDITIONS,
    HUB_LICENCES,
    UNDECIDED,
    LicensedWork,
    card_licence,
    decide_licence,
    licence_names,
    licensed_work,
    recorded_licence,
    sharing_problem,
)
from hub_trainer.local_hub.cards import LICENSES, validate_card


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
        "The dataset org/data is under 'other': a person has to read those terms.",
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


def test_licences_when_compared_with_those_of_the_hub_then_none_is_missing_or_of_our_own() -> None:
    """hub_licences.txt: the table of docs/hub/repositories-licenses.md, August 2026."""
    hub = set((Path(__file__).parent / "hub_licences.txt").read_text().split())
    assert len(hub) == 83
    assert hub == HUB_LICENCES
    assert hub == LICENSES


def test_licences_when_they_ask_for_something_then_the_new_ones_say_what() -> None:
    assert CONDITIONS["openmdw-1.0"] == CONDITIONS["openmdw-1.1"] == frozenset()
    assert CONDITIONS["h-research"] == {"non_commercial"}
    assert CONDITIONS["grok2-community"] == {"same_terms"}
    assert "cc" in UNDECIDED
    (warning,) = decide_licence("mit", [data("cc")]).warnings
    assert warning == "The dataset org/data is under 'cc': a person has to read those terms."


OWN: dict[str, object] = {"license": "other", "license_name": "x", "license_link": "LICENSE"}


def test_licence_when_a_source_has_its_own_terms_then_the_model_carries_their_name() -> None:
    own_data = licensed_work("dataset", "org/data", OWN)
    for works in ([own_data], [base(), own_data]):
        decision = decide_licence(None, works)
        assert (decision.license, decision.name, decision.link) == ("other", "x", "LICENSE")
        assert decision.in_card.front_matter() == OWN
        assert decision.problems == ()
    own_base = licensed_work("base model", "org/base", OWN)
    decision = decide_licence(None, [own_base, data("mit")])
    assert decision.in_card.front_matter() == OWN
    assert decision.reason == (
        "The base model org/base has terms of its own, and the model keeps them."
    )
    assert decide_licence("other", [base("mit"), own_data]).name == "x"
    assert decide_licence("other", [own_data], name="mine").in_card.name == "mine"


def test_licence_when_a_source_is_not_known_then_it_does_not_claim_to_suit_it() -> None:
    for works in ([base(), data("mit")], [base("mit"), licensed_work("dataset", "o/d", OWN)]):
        decision = decide_licence(None, works)
        assert decision.license == "mit"
        fits = "fits those whose terms are known; what follows is for a person to judge."
        assert decision.reason.endswith(fits)
        assert decision.warnings
    whole = decide_licence(None, [base("mit"), data("cc-by-4.0")])
    assert whole.reason.endswith("suits every source.")
    assert whole.warnings == ()


@pytest.mark.parametrize(
    ("card", "front"),
    [
        ({"license": "MIT"}, {"license": "mit"}),
        ({"license": ["mit", "cc-by-4.0"]}, {"license": ["mit", "cc-by-4.0"]}),
        (OWN, OWN),
        ({"license": "other"}, {"license": "other"}),
        ({"license": "My Own Terms (2)"}, {"license": "other", "license_name": "my-own-terms-2"}),
        ({"license": ["mit", "mine"]}, {"license": ["mit", "other"]}),
    ],
)
def test_card_licence_when_written_again_then_the_hub_takes_it(
    card: dict[str, object], front: dict[str, object]
) -> None:
    found = card_licence(card)
    assert found is not None
    assert found.front_matter() == front
    assert validate_card(f"---\n{yaml.safe_dump(front)}---\n") == ([], [])


@pytest.mark.parametrize(
    ("recorded", "front"),
    [
        ("cc0-1.0", {"license": "cc0-1.0"}),
        ("mit, cc-by-4.0", {"license": ["mit", "cc-by-4.0"]}),
        ("x", OWN),
    ],
)
def test_licence_when_read_from_a_record_then_the_card_adds_what_that_leaves_out(
    recorded: str, front: dict[str, object]
) -> None:
    found = recorded_licence(recorded, OWN)
    assert found is not None
    assert found.front_matter() == front
    gone = recorded_licence("x", {})
    assert gone is not None
    assert gone.front_matter() == {"license": "other", "license_name": "x"}
    assert recorded_licence(None, OWN) is None


SHARED = [
    (("cc-by-4.0",), None),
    (("cc-by-nc-sa-4.0",), None),
    ((), "org/data names no licence"),
    (("unknown",), "org/data names no licence"),
    (("cc",), "org/data is under cc, terms that a person has to read"),
    (("mit", "other"), "org/data is under other, terms that a person has to read"),
    (("cc-by-nc-nd-4.0",), "org/data is cc-by-nc-nd-4.0, which lets nobody share what is made"),
]


@pytest.mark.parametrize(("licenses", "reason"), SHARED)
def test_licence_when_rows_are_to_be_shown_then_known_terms_must_allow_it(
    licenses: tuple[str, ...], reason: str | None
) -> None:
    problem = sharing_problem(data(*licenses))
    assert (problem or "").startswith(reason or "")
    assert (problem is None) == (reason is None)
