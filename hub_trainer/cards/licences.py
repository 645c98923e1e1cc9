"""Licence that a model may carry, given those of its base model and of its data.

A rule of thumb that can be checked, not legal advice. It takes the strict view that a fine-tuned
model is an adaptation of its base and shares what binds the data it learned from.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Condition = Literal["non_commercial", "no_derivatives", "share_alike", "same_terms"]

_PERMISSIVE: tuple[str, ...] = (
    "apache-2.0",
    "mit",
    "isc",
    "zlib",
    "unlicense",
    "wtfpl",
    "ncsa",
    "postgresql",
)
_PERMISSIVE += ("bsd", "bsd-2-clause", "bsd-3-clause", "bsd-3-clause-clear", "bsl-1.0", "afl-3.0")
_PERMISSIVE += ("artistic-2.0", "ecl-2.0", "ms-pl", "cc0-1.0", "pddl", "odc-by", "etalab-2.0")
_PERMISSIVE += ("c-uda", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0")
_PERMISSIVE += ("cdla-permissive-1.0", "cdla-permissive-2.0", "openmdw-1.0", "openmdw-1.1")
_SHARE_ALIKE: tuple[str, ...] = (
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cdla-sharing-1.0",
    "odbl",
    "gpl",
    "gpl-2.0",
)
_SHARE_ALIKE += ("gpl-3.0", "agpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "lgpl-lr", "mpl-2.0")
_SHARE_ALIKE += ("epl-1.0", "epl-2.0", "eupl-1.1", "eupl-1.2", "osl-3.0", "gfdl", "lppl-1.3c")
_SHARE_ALIKE += ("ofl-1.1",)
_SAME_TERMS: tuple[str, ...] = (
    "openrail",
    "openrail++",
    "bigscience-openrail-m",
    "bigscience-bloom-rail-1.0",
)
_SAME_TERMS += ("bigcode-openrail-m", "creativeml-openrail-m", "deepfloyd-if-license", "llama2")
_SAME_TERMS += ("llama3", "llama3.1", "llama3.2", "llama3.3", "llama4", "gemma", "apple-ascl")
_SAME_TERMS += ("grok2-community",)
_NON_COMMERCIAL: tuple[str, ...] = (
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "apple-amlr",
    "intel-research",
    "h-research",
)
_NON_COMMERCIAL += ("fair-noncommercial-research-license",)
_NON_COMMERCIAL_SHARE_ALIKE: tuple[str, ...] = (
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
)
_NO_DERIVATIVES: tuple[str, ...] = ("cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0")

CONDITIONS: dict[str, frozenset[Condition]] = {
    **dict.fromkeys(_PERMISSIVE, frozenset()),
    **dict.fromkeys(_SHARE_ALIKE, frozenset({"share_alike"})),
    **dict.fromkeys(_SAME_TERMS, frozenset({"same_terms"})),
    **dict.fromkeys(_NON_COMMERCIAL, frozenset({"non_commercial"})),
    **dict.fromkeys(_NON_COMMERCIAL_SHARE_ALIKE, frozenset({"non_commercial", "share_alike"})),
    **dict.fromkeys(_NO_DERIVATIVES, frozenset({"no_derivatives"})),
}
"""Licence, as the Hub names it -> what it asks of works that build on it, beside attribution."""

UNDECIDED = frozenset({"cc", "other", "unknown"})
"""Names of the Hub that do not say what may be done: a family, terms of one's own, nothing."""
HUB_LICENCES = frozenset(CONDITIONS) | UNDECIDED
"""Every licence identifier that the Hub takes in a card."""
OTHER = "other"

_SUCCESSORS: dict[str, tuple[str, ...]] = {
    "cc-by-sa-3.0": ("cc-by-sa-4.0",),
    "cc-by-nc-sa-2.0": ("cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
    "cc-by-nc-sa-3.0": ("cc-by-nc-sa-4.0",),
    "cc-by-sa-4.0": ("gpl-3.0",),
    "lgpl": ("lgpl-2.1", "lgpl-3.0", "gpl", "gpl-2.0", "gpl-3.0", "agpl-3.0"),
    "lgpl-2.1": ("lgpl-3.0", "gpl-2.0", "gpl-3.0", "agpl-3.0"),
    "lgpl-3.0": ("gpl-3.0", "agpl-3.0"),
    "gpl": ("gpl-2.0", "gpl-3.0", "agpl-3.0"),
    "gpl-3.0": ("agpl-3.0",),
    "eupl-1.1": ("eupl-1.2",),
    "epl-1.0": ("epl-2.0",),
    "mpl-2.0": ("lgpl-2.1", "lgpl-3.0", "gpl-2.0", "gpl-3.0", "agpl-3.0"),
}
"""Share-alike licence -> others that its own text, or its steward's list, lets take its place."""


@dataclass(frozen=True)
class CardLicence:
    """What a card says of its licence: identifiers of the Hub, and of `other` its name and link."""

    ids: tuple[str, ...]
    name: str | None = None
    link: str | None = None

    def __str__(self) -> str:
        return self.name or ", ".join(self.ids)

    def front_matter(self) -> dict[str, Any]:
        """The keys of a card's front matter."""
        keys: dict[str, Any] = {"license": self.ids[0] if len(self.ids) == 1 else list(self.ids)}
        keys |= {"license_name": self.name} if self.name else {}
        return keys | ({"license_link": self.link} if self.link else {})


@dataclass(frozen=True)
class LicensedWork:
    """Something a model is made from, and the licences its card names (none, one or several)."""

    kind: Literal["base model", "dataset"]
    repo_id: str
    licenses: tuple[str, ...]
    name: str | None = None
    """`license_name` of a card whose licence is `other`."""
    link: str | None = None
    """`license_link` of such a card."""


@dataclass(frozen=True)
class LicenceDecision:
    """The model's licence, why, what stands against it, and what a reader should know."""

    license: str
    reason: str
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    name: str | None = None
    """The terms' own name, where the licence is `other`."""
    link: str | None = None

    @property
    def in_card(self) -> CardLicence:
        """The licence as the card names it."""
        return CardLicence((self.license,), self.name, self.link)


def licensed_work(
    kind: Literal["base model", "dataset"], repo_id: str, card: Mapping[str, Any]
) -> LicensedWork:
    """A work by the metadata of its card."""
    found = card_licence(card)
    if found is None:
        return LicensedWork(kind, repo_id, ())
    return LicensedWork(kind, repo_id, found.ids, found.name, found.link)


def sharing_problem(work: LicensedWork) -> str | None:
    """Why parts of a work may not be shown to others, made smaller; None when they may."""
    if not set(work.licenses) - {"unknown"}:
        return f"{work.repo_id} names no licence"
    for theirs in work.licenses:
        if theirs not in CONDITIONS:
            named = work.name or theirs
            return f"{work.repo_id} is under {named}, terms that a person has to read"
        if "no_derivatives" in CONDITIONS[theirs]:
            return f"{work.repo_id} is {theirs}, which lets nobody share what is made from it"
    return None


def card_licence(card: Mapping[str, Any]) -> CardLicence | None:
    """The licence in a card's metadata; one that the Hub does not know is `other` by that name."""
    names = licence_names(card.get("license"))
    if not names:
        return None
    strangers = [name for name in names if name not in HUB_LICENCES]
    if not strangers and OTHER not in names:
        return CardLicence(names)
    if len(names) > 1:
        known = tuple(name for name in names if name in HUB_LICENCES)
        return CardLicence((*known, *((OTHER,) if OTHER not in known else ())))
    name = card.get("license_name") or ", ".join(strangers) or None
    link = card.get("license_link")
    return CardLicence((OTHER,), _slug(name), str(link) if link else None)


def recorded_licence(text: str | None, card: Mapping[str, Any]) -> CardLicence | None:
    """A licence as a round's record has it, in one text; `card` adds what the text leaves out."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if not names:
        return None
    if all(name in HUB_LICENCES - {OTHER} for name in names):
        return CardLicence(tuple(names))
    found = card_licence(card)
    if found and OTHER in found.ids:
        return found
    return card_licence({"license": OTHER, "license_name": text if text != OTHER else None})


def _slug(name: object) -> str | None:
    """A licence's own name as the Hub takes it: small letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.+-]+", "-", str(name).lower()).strip("-")[:80] if name else None


def licence_names(value: object) -> tuple[str, ...]:
    """Licences from a card's `license`, which may be missing, a name or a list of names."""
    values = value if isinstance(value, list) else [value]
    return tuple(str(one).strip().lower() for one in values if one)


def decide_licence(
    requested: str | None,
    works: Sequence[LicensedWork],
    *,
    name: str | None = None,
    link: str | None = None,
) -> LicenceDecision:
    """The licence to publish under: the requested one, or the first of a work that suits all.

    `other` is for terms that a person has agreed on: nothing stands against it, all is told. Its
    name and link are those of the recipe, or else of a source with terms of its own.
    """
    if not requested:
        return _chosen(works)
    requested = requested.lower()
    reason = f"The recipe asks for {requested}."
    clashes, doubts = _clashes(requested, works), _doubts(requested, works)
    if requested == OTHER:
        if name is None and (source := _with_own_terms(works)):
            name, link = source.name, source.link
        return LicenceDecision(OTHER, reason, (), tuple(clashes + doubts), name, link)
    return LicenceDecision(requested, reason, tuple(clashes), tuple(doubts))


def _with_own_terms(works: Sequence[LicensedWork]) -> LicensedWork | None:
    """The first work, of a base model if there is one, whose licence has a name of its own."""
    named = sorted((w for w in works if w.name), key=lambda work: work.kind != "base model")
    return named[0] if named else None


def _chosen(works: Sequence[LicensedWork]) -> LicenceDecision:
    candidates = [(one, work) for work in works for one in work.licenses if one in CONDITIONS]
    own = _with_own_terms(works)
    if own and (own.kind == "base model" or not candidates):
        reason = f"The {own.kind} {own.repo_id} has terms of its own, and the model keeps them."
        told = (*_clashes(OTHER, works), *_doubts(OTHER, works))
        return LicenceDecision(OTHER, reason, (), told, own.name, own.link)
    for one, work in candidates:
        if not _clashes(one, works):
            doubts = tuple(_doubts(one, works))
            known = all(set(other.licenses) & set(CONDITIONS) for other in works)
            suits = "suits every source"
            if doubts or not known:
                fits = "them all as far as can be told" if known else "those whose terms are known"
                suits = f"fits {fits}; what follows is for a person to judge"
            reason = f"It is that of the {work.kind} {work.repo_id} and {suits}."
            return LicenceDecision(one, reason, (), doubts)
    if not candidates:
        reason = "No source names a licence that says what may be done with a model made from it."
        return LicenceDecision("unknown", reason, (), tuple(_doubts("unknown", works)))
    first, work = candidates[0]
    reason = f"No licence of a source suits all of them; this is that of {work.repo_id}."
    clashes = tuple(_clashes(first, works))
    return LicenceDecision(first, reason, clashes, tuple(_doubts(first, works)))


def _clashes(license: str, works: Sequence[LicensedWork]) -> list[str]:
    """Why a work does not let the model carry `license`."""
    found = []
    for work in works:
        for theirs in work.licenses:
            reason = _clash(license.lower(), theirs, work.kind)
            if reason:
                found.append(f"{work.kind} {work.repo_id} is {theirs}, which {reason}")
    return found


def _clash(ours: str, theirs: str, kind: str) -> str | None:
    asks = CONDITIONS.get(theirs, frozenset())
    if "no_derivatives" in asks:
        return "lets nobody share what is made from it"
    if ours in (theirs, *_SUCCESSORS.get(theirs, ())):
        return None
    if "same_terms" in asks:
        return f"hands its terms on: the model must be {theirs} too"
    if "non_commercial" in asks and "non_commercial" not in CONDITIONS.get(ours, frozenset()):
        return f"forbids commercial use, and {ours} does not"
    if "share_alike" in asks and kind == "base model":
        return f"must be shared alike: the model must be {theirs} too"
    return None


def _doubts(license: str, works: Sequence[LicensedWork]) -> list[str]:
    """What a reader should know of the licences, though it forbids nothing."""
    found = []
    for work in works:
        if not work.licenses:
            found.append(f"The {work.kind} {work.repo_id} names no licence.")
        for theirs in work.licenses:
            if theirs not in CONDITIONS:
                terms = f"The {work.kind} {work.repo_id} is under {work.name or theirs!r}"
                found.append(f"{terms}: a person has to read those terms.")
            elif _alike_data(license, theirs, work.kind):
                found.append(
                    f"The dataset {work.repo_id} is {theirs}, to be shared alike; whether that "
                    f"reaches a model trained on it is not settled, and this one is {license}."
                )
    return found


def _alike_data(ours: str, theirs: str, kind: str) -> bool:
    alike = "share_alike" in CONDITIONS.get(theirs, frozenset())
    return alike and kind == "dataset" and ours not in (theirs, *_SUCCESSORS.get(theirs, ()))
