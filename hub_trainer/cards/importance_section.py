"""The card's account of which columns of a table a model goes by."""

from hub_trainer.cards.facts import CardFacts
from hub_trainer.cards.markdown import name, table
from hub_trainer.cards.results import FIGURES, estimate

MAX_ROWS = 20


def importance_section(facts: CardFacts) -> str:
    """A picture, a sentence and a table; nothing for a model of other rows."""
    found = facts.results.detail.get("importance")
    if not found:
        return ""
    columns = found["columns"]
    rows = [
        [name(one["column"]), estimate(one), f"{one['share']:.0%}"] for one in columns[:MAX_ROWS]
    ]
    more = len(columns) - len(rows)
    told = (
        f"What is lost of {found['measure']} when the values of one column are exchanged among "
        f"{found['num_rows']:,} sealed rows: the mean of {found['repeats']} exchanges with its "
        "95 % interval over rows, and its share of all that the model tells beyond chance. Of "
        "columns that say the same, each can be spared while the other is there."
    )
    told += f" {more:,} columns that are worth less are not shown." if more else ""
    header = ["column", "what is lost", "share"]
    picture = f"![What is lost without each column]({FIGURES}/importance.png)"
    return f"{picture}\n\n{told}\n\n{table(header, rows)}"


def importance_limits(facts: CardFacts) -> list[str]:
    """That one column alone explains almost all, which is often the answer in other words."""
    leak = (facts.results.detail.get("importance") or {}).get("leak")
    if not leak:
        return []
    alone = f"The column {name(leak['column'])} alone explains {leak['share']:.0%} of what it tells"
    return [f"{alone}: if that column is made from the answer, these figures mean nothing."]
