"""Parts of `train`: what is minimised, and how several trained models become one."""

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hub_trainer.recipe.section import Section

LossName = Literal["focal", "huber", "cosent", "in_batch"]


class LossSection(Section):
    """What is minimised in place of the usual loss; its plain name will do."""

    in_text = "the name of a loss"
    name: LossName
    """focal (labels that are sure already count less), huber (of numbers: errors beyond `delta`
    count by their size and not its square), cosent (of similarities: only the order of pairs
    counts, and not how far a cosine is from its number), or in_batch (of texts that belong
    together: each is to be nearer to its own than to those of all other pairs of its batch)."""
    gamma: float = Field(2.0, gt=0)
    """focal: how much less a sure label counts, as (1 - p) ** gamma."""
    delta: float = Field(1.0, gt=0)
    """huber: the error, in units of the target, from which on it counts by its size."""

    @property
    def learns_matches(self) -> bool:
        """Whether it is learned which texts belong together, for which pairs need no number."""
        return self.name == "in_batch"

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_its_keys(self) -> "LossSection":
        own = {"focal": "gamma", "huber": "delta"}
        for name, key in own.items():
            if name != self.name and key in self.model_fields_set:
                raise ValueError(f"{key} changes nothing in the loss {self.name}; remove it")
        return self


class FuseSection(Section):
    """Several models that become one, where that is better on validation rows than the best."""

    method: Literal["greedy_soup", "uniform_soup", "ties", "dare", "ensemble"]
    """A mean of weights: of those that make it no worse, best first, or of all. Under `lora` and
    `qlora` also, of adapters, ties (the largest changes of each, where most agree in their sign) or
    dare (changes of each by chance, raised to make up for the others). Of tables, ensemble (the
    mean of what several estimators say)."""
    checkpoints: int = Field(5, gt=1)
    """The last so many checkpoints, with the best, that are kept for it; each takes disk space."""
    density: float = Field(0.5, gt=0, lt=1)
    """ties, dare: share of each adapter's changes that is kept."""
    estimators: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """ensemble: estimators to join, as a list of names or each with its own arguments."""

    @property
    def of_adapters(self) -> bool:
        """Whether adapters are joined, and not weights averaged."""
        return self.method in ("ties", "dare")

    @property
    def of_estimators(self) -> bool:
        """Whether estimators are joined, and not checkpoints of a run."""
        return self.method == "ensemble"

    @field_validator("estimators", mode="before")
    @classmethod
    def _from_names(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {str(name): {} for name in value}
        if isinstance(value, dict):
            return {name: {} if one is None else one for name, one in value.items()}
        return value

    @model_validator(mode="after")
    def _has_its_keys(self) -> "FuseSection":
        users = {
            "density": self.of_adapters,
            "checkpoints": not self.of_estimators,
            "estimators": self.of_estimators,
        }
        faults = [
            f"{key} changes nothing in {self.method}; remove it"
            for key, is_used in users.items()
            if key in self.model_fields_set and not is_used
        ]
        if self.of_estimators and len(self.estimators) < 2:
            faults.append("an ensemble joins two estimators or more: name them in estimators")
        if faults:
            raise ValueError("\n".join(faults))
        return self
