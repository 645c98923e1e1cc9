"""The route table: every path that the Local Hub answers, with what it asks of the caller."""

from hub_trainer.local_hub.routes import (
    content,
    discussions,
    identity,
    repos,
    resolve,
    spaces,
    uploads,
)
from hub_trainer.local_hub.wire import Entry

ROUTES: list[Entry] = [
    *identity.ROUTES,
    *repos.ROUTES,
    *content.ROUTES,
    *uploads.ROUTES,
    *discussions.ROUTES,
    *spaces.ROUTES,
    *resolve.ROUTES,
]
