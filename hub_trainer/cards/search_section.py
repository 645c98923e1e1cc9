"""The card's section on a search over settings: what was tried, what was chosen, and by what."""

from collections.abc import Mapping
from typing import Any

from hub_trainer.cards.markdown import escape, name, table
from hub_trainer.reports import TuneReport
from hub_trainer.stats import readable

STATES = {
    "done": "done",
    "pruned": "pruned, as they fell behind the median of the others",
    "failed": "failed",
    "cut_off": "cut off and tried again",
}


def search_section(tune: TuneReport) -> str:
    """A table of the settings, and the score that chose, told as what it is."""
    rows = [
        [name(key), escape(_range(searched), 200), escape(_chosen(tune, key), 100), weight]
        for key, searched in tune.search.items()
        for weight in [f"{tune.importances[key]:.0%}" if key in tune.importances else "unknown"]
    ]
    counts = [f"{count:,} {STATES[state]}" for state, count in tune.trials.items() if count]
    written = tune.written_score
    beside = "" if written is None else f", where the recipe as it is scored {readable(written)}"
    return (
        f"{table(['setting', 'tried', 'chosen', 'importance'], rows, numbers_from=3)}\n\n"
        f"Trials: {', '.join(counts)}. Chosen by {tune.metric} {readable(tune.score)} on the "
        f"validation rows{beside}: the validation score that chose, not a measurement. Results "
        "above are of the sealed rows, which the search never read. Importance is the share of the "
        "scores' variance that a setting explains (fANOVA)."
    )


def _chosen(tune: TuneReport, key: str) -> str:
    return _value(tune.chosen[key]) if tune.chosen else "the recipe's own"


def _range(searched: Mapping[str, Any]) -> str:
    if "choices" in searched:
        return ", ".join(map(str, searched["choices"]))
    how = [", log scale"] if searched.get("log") else []
    how += [f", step {searched['step']}"] if searched.get("step") else []
    return f"{searched['low']} to {searched['high']}{''.join(how)}"


def _value(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
