"""A Local Hub for a test session, its users, and clients: the official one and raw HTTP."""

import os

os.environ["HF_HUB_DISABLE_XET"] = "1"

import itertools
from collections.abc import Callable, Iterator

import httpx
import pytest
from huggingface_hub import HfApi

from hub_trainer.local_hub import Limits, LocalHub

SMALL_PARTS = Limits(multipart_bytes=200_000, part_bytes=64_000)
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def hub() -> Iterator[LocalHub]:
    with LocalHub(limits=SMALL_PARTS) as running:
        running.add_org("lab", {"admin": "admin", "reader": "read", "member": "write"})
        yield running


@pytest.fixture(scope="session")
def api(hub: LocalHub) -> HfApi:
    return HfApi(endpoint=hub.url, token=hub.token)


@pytest.fixture(scope="session")
def other_token(hub: LocalHub) -> str:
    return hub.add_user("somebody")


@pytest.fixture(scope="session")
def other(hub: LocalHub, other_token: str) -> HfApi:
    return HfApi(endpoint=hub.url, token=other_token)


@pytest.fixture(scope="session")
def http(hub: LocalHub) -> Iterator[httpx.Client]:
    """Raw requests as the owner."""
    headers = {"Authorization": f"Bearer {hub.token}"}
    with httpx.Client(base_url=hub.url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def anyone(hub: LocalHub) -> Iterator[httpx.Client]:
    """Raw requests as nobody."""
    with httpx.Client(base_url=hub.url, timeout=30) as client:
        yield client


@pytest.fixture
def new_repo(api: HfApi) -> Callable[..., str]:
    """Makes a repo of the owner with a fresh name; gives back its id."""

    def make(**options: object) -> str:
        name = f"repo-{next(_numbers)}"
        return str(api.create_repo(name, **options).repo_id)  # type: ignore[arg-type]

    return make


@pytest.fixture
def repo_id(new_repo: Callable[..., str]) -> str:
    return new_repo()
