"""A Space of pictures: what is no picture is told to the visitor, and no traceback is written."""

from pathlib import Path

import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from hub_trainer.local_hub import LocalHub
from tests.space.factory import QUIET, running_space
from tests.space.kinds import DIGITS, DarkTask, drawings

pytestmark = QUIET


def test_picture_when_it_cannot_be_read_then_the_visitor_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = {"empty.png": b"", "text.heic": b"no picture", "cut.png": b"\x89PNG\r\n\x1a\n"}
    with (
        LocalHub() as local,
        running_space(
            tmp_path, local, task=DarkTask(), shown=drawings(), label_names=DIGITS
        ) as space,
    ):
        client = Client(space.url, headers={"Authorization": "Bearer hf_ada"}, verbose=False)
        for name, content in files.items():
            path = tmp_path / name
            path.write_bytes(content)
            with pytest.raises(AppError, match="Picture: this cannot be read. Give another one."):
                client.predict(handle_file(path), api_name="/predict")
        client.close()
    assert "Traceback" not in capfd.readouterr().err
