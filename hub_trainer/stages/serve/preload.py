"""Files that the Hub fetches while it builds a Space, so that it starts with its model at hand."""

import json
from collections.abc import Iterator
from fnmatch import fnmatch

from hub_trainer.finetune.model_folder import ADAPTER_CONFIG
from hub_trainer.hub import MODEL_FILES, Hub, Repo
from hub_trainer.recipe.schema import REPO_ID
from hub_trainer.space.readme import shown_models
from hub_trainer.space.settings import SpaceSettings


def preloads(settings: SpaceSettings, hub: Hub) -> list[str]:
    """Entries of `preload_from_hub`: repo, files, commit; the Hub preloads public repos only."""
    repos = [*shown_models(settings)]
    repos += [base for repo_id, sha in repos for base in _bases(repo_id, sha, hub)]
    return [entry for repo_id, sha in dict.fromkeys(repos) for entry in _entry(repo_id, sha, hub)]


def _entry(repo_id: str, commit_sha: str, hub: Hub) -> Iterator[str]:
    if hub.is_private(Repo(repo_id)):
        return
    files = [
        file.path
        for file in hub.list_files(Repo(repo_id), commit_sha)
        if any(fnmatch(file.path, pattern) for pattern in MODEL_FILES)
        and not set(" ,") & set(file.path)
    ]
    if files:
        yield f"{repo_id} {','.join(files)} {commit_sha}"


def _bases(repo_id: str, commit_sha: str, hub: Hub) -> Iterator[tuple[str, str]]:
    """The base model that an adapter needs beside it."""
    content = hub.read_file(Repo(repo_id), ADAPTER_CONFIG, commit_sha)
    try:
        config = json.loads(content) if content else {}
    except ValueError:
        return
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if isinstance(base, str) and REPO_ID.match(base):
        yield base, hub.resolve(Repo(base), str(config.get("revision") or "main"))
