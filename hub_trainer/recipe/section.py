"""What every part of a recipe is."""

from collections.abc import Sequence
from types import UnionType
from typing import Any, ClassVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from hub_trainer.recipe.value_words import written_number


class Section(BaseModel):
    """A part of the recipe: frozen, and an unknown key is an error.

    It is strict, so that `yes` is no number and "false" no boolean.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
    in_text: ClassVar[str | None] = None
    """What of plain text will do in its place, where any will."""

    @field_validator("*", mode="before")
    @classmethod
    def _number_in_text(cls, value: Any, info: ValidationInfo) -> Any:
        """`5e-2`, which YAML reads as text, is a number where only a number is taken."""
        if not isinstance(value, str) or info.field_name not in cls.model_fields:
            return value
        kinds = members(cls.model_fields[info.field_name].annotation)
        return written_number(value) if float in kinds and str not in kinds else value


def members(annotation: Any) -> Sequence[Any]:
    """The types of a union, or the one type."""
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section that a setting holds, or holds several of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := section_in(one))), None)
