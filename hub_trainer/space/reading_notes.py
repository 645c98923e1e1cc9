"""Notes on how an input was read: what of it the model does not read, and unusual values."""

import html
from typing import Any

from hub_trainer.errors import HubTrainerError
from hub_trainer.space.ranges import Ranges, unusual_values
from hub_trainer.space.service import SpaceService


class Reading:
    """Notes on an input, beside the answer to it."""

    def __init__(self, service: SpaceService, ranges: Ranges) -> None:
        self._loaded, self._ranges = service.loaded, ranges

    def notes(self, *values: Any) -> str:
        """The notes as HTML; empty when there is nothing unusual."""
        try:
            row = self._loaded.widgets.to_row(values)
        except HubTrainerError:
            return ""
        told = unusual_values(row, self._ranges)
        unread = self._loaded.widgets.unread
        told += unread(self._loaded.folders.model, row) if unread else []
        return "".join(f'<p class="note">{html.escape(note)}</p>' for note in told)
