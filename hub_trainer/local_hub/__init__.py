"""A Hub of one's own: an embedded server that speaks the Hugging Face Hub's HTTP protocol."""

from hub_trainer.local_hub.core import Limits
from hub_trainer.local_hub.server import TOKEN_FILE, LocalHub, serve

__all__ = ["TOKEN_FILE", "Limits", "LocalHub", "serve"]
