"""Reasons why ratings bring no example, and what can be done about it, in sentences for people."""

from collections.abc import Mapping
from typing import Any

from hub_trainer.ratings import ANONYMOUS, FLUSH_SECONDS
from hub_trainer.stages.curate.agreed_file import counted

TOO_FEW_RATERS = "with too few raters"
NO_AGREEMENT = "without agreement"
ON_ANONYMOUS = (
    "Nothing shows that anonymous ratings are of several people. Raters count who sign in, as a "
    "Space on the public Hub asks them to, or rate with a token (docs/local-hub.md); or set "
    "curate.anonymous=capped: all of one network are then one rater a day, and curate.min_raters=1 "
    "lets one alone decide."
)
ON_THE_WAY = (
    f"A Space sends its ratings every {FLUSH_SECONDS:.0f} seconds unless its FLUSH_SECONDS says "
    "otherwise; its /health says how many wait."
)


def why_nothing(outputs: Mapping[str, Any], needed: int) -> str:
    """What has become of every rated example and every rating that does not count."""
    examples = {**outputs.get("skipped_rows", {}), **outputs.get("left_out", {})}
    ratings = outputs.get("dropped_ratings", {})
    told = [
        f"{counted(n, noun)} {_predicate(why, n, needed)}"
        for noun, counts in (("example", examples), ("rating", ratings))
        for why, n in sorted(counts.items())
        if n
    ]
    return ", ".join(told) or "no ratings"


def hints(outputs: Mapping[str, Any]) -> list[str]:
    """What can be done where nothing is proposed, or ratings of some examples are missing."""
    nothing = not outputs["rows"]
    found = []
    if nothing and outputs.get("dropped_ratings", {}).get(ANONYMOUS):
        found.append(ON_ANONYMOUS)
    if nothing or outputs.get("skipped_rows", {}).get(TOO_FEW_RATERS):
        found.append(ON_THE_WAY)
    return found


def _predicate(why: str, count: int, needed: int) -> str:
    """A reason as what is said of so many: "in the dataset already" as "is in the dataset"."""
    one = count == 1
    if why == TOO_FEW_RATERS:
        why = f"{why} ({needed:,} {'is' if needed == 1 else 'are'} needed)"
    if why.startswith("with "):
        return f"{'has' if one else 'have'} {why.removeprefix('with ')}"
    return f"{'is' if one else 'are'} {why}"
