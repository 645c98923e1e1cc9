"""The table of the pages. It comes last: what a client asks for is answered before it."""

from hub_trainer.local_hub.page import browse, discussion_pages, signing
from hub_trainer.local_hub.page import file_pages as files
from hub_trainer.local_hub.wire import Entry

ROUTES: list[Entry] = [*signing.ROUTES, *browse.ROUTES, *files.ROUTES, *discussion_pages.ROUTES]
