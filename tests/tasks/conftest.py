"""Base model folders, made once."""

from pathlib import Path

import pytest

from tests.tasks.factory import image_base, sound_base, text_base


@pytest.fixture(scope="session")
def text_base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_base(tmp_path_factory.mktemp("text-base"))


@pytest.fixture(scope="session")
def image_base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_base(tmp_path_factory.mktemp("image-base"))


@pytest.fixture(scope="session")
def sound_base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sound_base(tmp_path_factory.mktemp("sound-base"))
