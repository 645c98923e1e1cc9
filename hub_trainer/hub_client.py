"""The Hub's client, set up for this process: quiet, and never waiting without end."""

from functools import cache
from typing import Any

WAITS: tuple[float, float, float, None] = (30.0, 300.0, 300.0, None)
"""Seconds to connect, to hear something and to be heard; a pool has room at once. A commit of many
files is looked at for minutes. The client itself waits for ever."""


def open_api(url: str, token: str | None) -> Any:
    """An HfApi of this Hub, for this token."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars
    from tqdm import tqdm  # type: ignore[import-untyped]

    disable_progress_bars()
    tqdm.get_lock()  # made here for good: two threads that make and drop one break each other
    limit_waiting()
    return HfApi(endpoint=url, token=token, library_name="hub_trainer")


@cache
def limit_waiting() -> None:
    """From now on a Hub that takes a request and says nothing is one that does not answer."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    def made() -> Any:
        client = default_client_factory()
        client.timeout = WAITS
        return client

    set_client_factory(made)
