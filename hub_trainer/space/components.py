"""Components of a page by the names that tasks and answers give: Gradio's, and one of our own."""

from collections.abc import Mapping
from typing import Any

import gradio as gr  # noqa: TID253 - nothing but a running Space imports this

LABEL_SET = "LabelSet"
"""Bars as Gradio's Label has them, under a heading that may name several labels, or none."""


def component(name: str, **options: Any) -> Any:
    """A component with its arguments."""
    if name != LABEL_SET:
        return getattr(gr, name)(**options)
    # No subclass: Gradio writes a stub file beside the module of each.
    made = gr.Label(**options)
    made.postprocess = lambda value: _label_set(value, made.num_top_classes)
    return made


def input_component(name: str, **options: Any) -> Any:
    """A component in which something is given; what it cannot read is told to who gave it."""
    made = component(name, **options)
    reads = made.preprocess

    def preprocess(payload: Any) -> Any:
        try:
            return reads(payload)
        except gr.Error:
            raise
        except Exception as error:
            told = f"{made.label}: this cannot be read. Give another one."
            raise gr.Error(told, print_exception=False) from error

    made.preprocess = preprocess
    return made


def _label_set(value: Mapping[str, Any] | None, num_shown: int | None) -> Any:
    """`label`, and `confidences` as pairs of label and confidence, the likeliest first."""
    from gradio.components.label import LabelConfidence, LabelData

    if not value:
        return {}
    shown = [LabelConfidence(**one) for one in value["confidences"][:num_shown]]
    return LabelData(label=value["label"], confidences=shown)
