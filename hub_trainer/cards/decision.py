"""The card's account of a decision threshold: what was wanted, and what it reaches."""

from hub_trainer.cards.facts import CardFacts
from hub_trainer.cards.markdown import name, table
from hub_trainer.cards.results import estimate
from hub_trainer.stats import readable

MAX_SLICES = 40


def decision_section(facts: CardFacts) -> str:
    """The threshold in words, and a table of what it reaches; nothing where there is none."""
    chosen, reached = facts.fit.threshold, facts.results.detail.get("positive")
    if chosen is None or reached is None:
        return ""
    label = name(str(chosen["name"]))
    told = (
        f"It says {label} where the probability of that is {readable(chosen['threshold'])} or "
        f"more, otherwise the likeliest other label. This is the largest threshold at which "
        f"{chosen['wanted']:.0%} of the validation rows with the label are given it; the sealed "
        f"rows had no part in choosing it. {_of_use(facts, label)}"
    )
    both = (chosen, reached)
    wanted = f"{chosen['wanted']:g}"
    rows = [
        ["sensitivity", wanted, *(estimate(one["sensitivity"]) for one in both)],
        ["specificity", "", *(estimate(one["specificity"]) for one in both)],
        ["rows with the label", "", *(f"{one['num_positive']:,}" for one in both)],
        ["rows without it", "", *(f"{one['num_negative']:,}" for one in both)],
    ]
    return f"{told}\n\n{table(['', 'wanted', 'on validation rows', 'on sealed rows'], rows)}"


def slices_section(facts: CardFacts) -> str:
    """Sensitivity and specificity in each part of the sealed rows that the recipe names."""
    found = facts.results.detail.get("positive_slices") or []
    if not found:
        return ""
    rows = [
        [
            name(one["column"]),
            name(one["value"]),
            f"{one['num_positive']:,}",
            estimate(one["sensitivity"]),
            f"{one['num_negative']:,}",
            estimate(one["specificity"]),
        ]
        for one in found[:MAX_SLICES]
    ]
    label = name(str(found[0]["name"]))
    more = len(found) - len(rows)
    told = f"Of {label}, in each part of the sealed rows; a wide interval is one of few rows."
    told += f" Parts that are not shown: {more:,}." if more else ""
    header = ["column", "value", "with it", "sensitivity", "without", "specificity"]
    return f"{told}\n\n{table(header, rows, numbers_from=2)}"


def decision_limits(facts: CardFacts) -> list[str]:
    """That the sealed rows surely miss what was wanted."""
    chosen, reached = facts.fit.threshold, facts.results.detail.get("positive")
    if chosen is None or reached is None:
        return []
    found = reached["sensitivity"]
    if not found["high"] < chosen["wanted"]:
        return []
    return [
        f"Its sensitivity on the sealed rows, {estimate(found)}, is surely below the wanted "
        f"{chosen['wanted']:g}."
    ]


def _of_use(facts: CardFacts, label: str) -> str:
    """Who applies it, and who has to."""
    if facts.presentation.library_name != "sklearn":
        return (
            "`thresholds` in `config.json` holds it. `pipeline` of transformers gives "
            f"probabilities and names the likeliest label: compare that of {label} yourself."
        )
    if len(facts.prepared.label_names) == 2:
        return "`predict` of the model in `model.skops` decides so, and `config.json` holds it."
    return (
        "`thresholds` in `config.json` holds it; `predict` of the model in `model.skops` names the "
        f"likeliest label: compare the probability of {label} yourself."
    )
