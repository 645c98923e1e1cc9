"""A Hub of one's own: an embedded server that speaks the Hugging Face Hub's HTTP protocol."""

from hub_trainer.local_hub.core import Limits
from hub_trainer.local_hub.server import LocalHub, serve

__all__ = ["Limits", "LocalHub", "serve"]
