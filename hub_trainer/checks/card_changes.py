"""Changes to a dataset's card in a pull request: where it points, the licence, the schema."""

from typing import Any

from hub_trainer.cards.licences import HUB_LICENCES
from hub_trainer.checks.verdict import Check
from hub_trainer.errors import DataError
from hub_trainer.rows import card_faults, parse_card
from hub_trainer.rows.card import CARD, card_too_large

MAX_CARD_BYTES = 200_000
READ_BY = {
    "configs": "which files are which split, the sealed rows among them",
    "hub_trainer": "what the rows are for and how their columns are read",
}
"""Key of a card -> what it decides."""


def check_card(base: bytes | None, head: bytes | None) -> list[Check]:
    """The card at the head against the card at the base; either may be missing."""
    if base == head:
        return [Check("card", True, "README.md is not changed")]
    try:
        before, after = card_metadata(base), card_metadata(head)
    except DataError as error:
        return [Check("card", False, error.what)]
    return [
        _check_paths(after),
        _check_license(before, after),
        _check_schema(before, after),
        Check(
            "card",
            False,
            f"README.md is edited{_told(before, after)}; a person must read it",
            "human",
        ),
    ]


def card_metadata(content: bytes | None) -> dict[str, Any]:
    """The YAML block of a card, {} when it has none. Raises DataError for what must not be read."""
    if content is None:
        return {}
    if len(content) > MAX_CARD_BYTES:
        raise card_too_large(len(content), MAX_CARD_BYTES, where=CARD)
    return parse_card(content.decode("utf-8", "replace"), where=CARD)


def _told(before: dict[str, Any], after: dict[str, Any]) -> str:
    """What the edit changes of how the dataset is read."""
    changed = [what for key, what in READ_BY.items() if before.get(key) != after.get(key)]
    return f", and changes {' and '.join(changed)}" if changed else ""


def _check_paths(metadata: dict[str, Any]) -> Check:
    """A `data_files` entry resolves on the disk of whoever loads the dataset."""
    faults = [f"{fault.key} {fault.reason}: {fault.got[:80]!r}" for fault in card_faults(metadata)]
    detail = "; ".join(faults[:5]) or "data_files stay inside the repo"
    return Check("card paths", not faults, detail, hostile=True)


def _check_license(before: dict[str, Any], after: dict[str, Any]) -> Check:
    old, new = before.get("license"), after.get("license")
    if old == new:
        return Check("licence", True, "not changed")
    names = new if isinstance(new, list) else [new]
    known = bool(names) and all(isinstance(name, str) and name in HUB_LICENCES for name in names)
    detail = f"from {old!r} to {str(new)[:60]!r}"
    if known:
        return Check("licence", False, f"changed {detail}; the owner must agree", "human")
    return Check("licence", False, f"changed {detail}, which is no licence that the Hub knows")


def _check_schema(before: dict[str, Any], after: dict[str, Any]) -> Check:
    same = _features(before) == _features(after)
    return Check("card schema", same, "not changed" if same else "the features are declared anew")


def _features(metadata: dict[str, Any]) -> Any:
    """The columns and label names that a card declares, per config."""
    info = metadata.get("dataset_info") or []
    entries = info if isinstance(info, list) else [info]
    return [
        (entry.get("config_name", "default"), entry.get("features"))
        for entry in entries
        if isinstance(entry, dict)
    ]
