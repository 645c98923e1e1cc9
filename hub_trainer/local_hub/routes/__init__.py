"""The route table: every path that the Local Hub answers, with what it asks of the caller."""

from hub_trainer.local_hub.page import routes as pages
from hub_trainer.local_hub.routes import (
    attachments,
    collections,
    content,
    discussions,
    git,
    identity,
    jobs,
    lfs_files,
    repos,
    resolve,
    social,
    spaces,
    storage,
    uploads,
    webhooks,
)
from hub_trainer.local_hub.wire import Entry

ROUTES: list[Entry] = [
    *identity.ROUTES,
    *repos.ROUTES,
    *content.ROUTES,
    *uploads.ROUTES,
    *discussions.ROUTES,
    *attachments.ROUTES,
    *spaces.ROUTES,
    *social.ROUTES,
    *storage.ROUTES,
    *collections.ROUTES,
    *webhooks.ROUTES,
    *jobs.ROUTES,
    *lfs_files.ROUTES,
    *git.ROUTES,
    *resolve.ROUTES,
    *repos.NAMELESS,
    *pages.ROUTES,
]
