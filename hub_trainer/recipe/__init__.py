"""The recipe: one round of one task, whole, in one YAML file."""

from hub_trainer.recipe.load import RecipeFile, json_schema, load_recipe
from hub_trainer.recipe.schema import (
    CollectSection,
    CurateSection,
    DatasetSource,
    EarlyStopping,
    EvaluateSection,
    GateSection,
    GenerationSection,
    LanguageSection,
    LoraSection,
    PrepareSection,
    PublishSection,
    Recipe,
    RepoRef,
    ReviewSection,
    ServeSection,
    TrainSection,
)

__all__ = [
    "CollectSection",
    "CurateSection",
    "DatasetSource",
    "EarlyStopping",
    "EvaluateSection",
    "GateSection",
    "GenerationSection",
    "LanguageSection",
    "LoraSection",
    "PrepareSection",
    "PublishSection",
    "Recipe",
    "RecipeFile",
    "RepoRef",
    "ReviewSection",
    "ServeSection",
    "TrainSection",
    "json_schema",
    "load_recipe",
]
