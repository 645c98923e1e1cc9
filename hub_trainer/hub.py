"""The only door to the Hub: pinned reads, atomic commits, pull requests, errors that say why."""

import errno
import hmac
import os
import random
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from itertools import islice
from json import JSONDecodeError
from pathlib import Path
from typing import Any, TypeVar

import yaml

from hub_trainer.errors import HubError
from hub_trainer.hub_client import open_api
from hub_trainer.hub_errors import OWN_ACCOUNT, explained, status_of
from hub_trainer.hub_types import (
    DATA_FILES,
    MODEL_FILES,
    Changes,
    Commit,
    FileCopy,
    HistoryEntry,
    PullRequest,
    Repo,
    RepoFile,
    RepoIdentity,
    RepoType,
)

__all__ = [
    "DATA_FILES",
    "MODEL_FILES",
    "PUBLIC_ENDPOINT",
    "RUN_TRAILER",
    "Changes",
    "Commit",
    "FileCopy",
    "HistoryEntry",
    "Hub",
    "PullRequest",
    "Repo",
    "RepoFile",
    "RepoIdentity",
    "RepoType",
    "cache_folder",
    "endpoint",
    "use_endpoint",
]

PUBLIC_ENDPOINT = "https://huggingface.co"
RUN_TRAILER = "Hub-Trainer-Run"
OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)
MAX_ATTEMPTS = 4
RECENT_COMMITS = 50
_FRONT_MATTER = re.compile(rb"\s*---[ \t]*\r?\n(.*?)\r?\n---", re.DOTALL)

Answer = TypeVar("Answer")


def endpoint() -> str:
    """The Hub in use: HF_ENDPOINT, or the public one."""
    return os.environ.get("HF_ENDPOINT", PUBLIC_ENDPOINT).rstrip("/")


def use_endpoint(url: str | None) -> None:
    """Point this process and its children at `url`; call it before anything imports the client."""
    if url:
        os.environ["HF_ENDPOINT"] = url.rstrip("/")
    if endpoint() != PUBLIC_ENDPOINT:
        os.environ["HF_HUB_DISABLE_XET"] = "1"


def cache_folder() -> Path:
    """Where the client keeps what it has fetched, HF_HOME."""
    from huggingface_hub import constants

    return Path(constants.HF_HOME)


class Hub:
    """One Hub, spoken to with one token; `token=None` takes HF_TOKEN or the saved login."""

    def __init__(self, url: str | None = None, token: str | None = None) -> None:
        self.url = (url or endpoint()).rstrip("/")
        self._token = token

    def __repr__(self) -> str:
        return f"Hub({self.url!r})"

    @cached_property
    def _api(self) -> Any:
        if self.url != PUBLIC_ENDPOINT:  # read when the client is first imported
            os.environ["HF_HUB_DISABLE_XET"] = "1"
        return open_api(self.url, self._token)

    def token_for_child(self) -> str | None:
        """The token, for the pipe to a child of ours; never for its arguments or environment."""
        return self._token or import_module("huggingface_hub").get_token()

    @property
    def has_token(self) -> bool:
        """Whether a token is given, in HF_TOKEN or in the saved login."""
        return self.token_for_child() is not None

    def derive_key(self, label: str) -> bytes | None:
        """A key that stays the same as long as the token does and does not tell it."""
        token = self.token_for_child()
        return hmac.new(token.encode(), label.encode(), "sha256").digest() if token else None

    def discussion_page(self, repo: Repo, number: int) -> str:
        """The page of a pull request or discussion, for people."""
        return f"{self.url}/{_web_path(repo)}/discussions/{number}"

    def user(self) -> dict[str, Any]:
        """The account of the token: {"name", "orgs": [{"name", "roleInOrg"}], "auth"}."""
        with self._errors(OWN_ACCOUNT):
            return dict(self._api.whoami())

    def assert_can_write(self, repo: Repo) -> None:
        """Raise HubError unless the token may write to `repo`, or create it when it is missing."""
        name = self.user()
        role = name.get("auth", {}).get("accessToken", {}).get("role")
        if role == "read":
            raise HubError(
                "The token may only read.",
                where=f"{self.url}/{repo.repo_id}",
                got=f"a read token of {name['name']}",
                do="Set HF_TOKEN to a token with write permission.",
            )
        if self.exists(repo):
            with self._errors(f"permission to write to {repo.repo_type} {repo.repo_id}"):
                self._api.auth_check(repo.repo_id, repo_type=repo.repo_type, write=True)
            return
        owner = repo.repo_id.split("/")[0]
        writable = {org["name"] for org in name["orgs"] if org.get("roleInOrg") != "read"}
        if owner not in writable | {name["name"]}:
            places = ", ".join(sorted(writable)) or "no organisation"
            raise HubError(
                f"The token may not create a {repo.repo_type} under {owner}.",
                where=f"{self.url}/{repo.repo_id}",
                got=f"a token of {name['name']}, who writes to {places}",
                do="Name a repo of yours, or ask an admin of the organisation for write access.",
            )

    def exists(self, repo: Repo) -> bool:
        """Whether the token can see `repo`."""
        with self._errors(f"{repo.repo_type} {repo.repo_id}"):
            return bool(self._api.repo_exists(repo.repo_id, repo_type=repo.repo_type))

    def is_private(self, repo: Repo) -> bool:
        """Whether only its owners can see `repo`."""
        return bool(self._info(repo).private)

    def is_open(self, repo: Repo) -> bool | None:
        """Whether everybody can read `repo`, being neither private nor gated.

        None where the Hub does not say.
        """
        info = self._info(repo)
        return None if info.private is None else not (info.private or info.gated)

    def resolve(self, repo: Repo, revision: str = "main") -> str:
        """The commit sha that `revision` names now."""
        return str(self._info(repo, revision).sha)

    def identify(self, repo: Repo, revision: str = "main") -> RepoIdentity:
        """Which repo the name stands for now, and the commit that `revision` names."""
        info = self._info(repo, revision)
        return RepoIdentity(info.id, getattr(info, "_id", None), info.author, str(info.sha))

    def _info(self, repo: Repo, revision: str = "main") -> Any:
        with self._errors(f"{repo.repo_type} {repo.repo_id} at {revision}"):
            return self._api.repo_info(repo.repo_id, repo_type=repo.repo_type, revision=revision)

    def card_data(self, repo: Repo, commit_sha: str) -> dict[str, Any]:
        """The metadata of the repo's card at `commit_sha`; a Hub's own answer is that of main."""
        content = self.read_file(repo, "README.md", commit_sha) or b""
        front = _FRONT_MATTER.match(content)
        try:
            metadata = yaml.safe_load(front[1]) if front else None
        except yaml.YAMLError:
            metadata = None
        return metadata if isinstance(metadata, dict) else {}

    def list_files(self, repo: Repo, revision: str) -> list[RepoFile]:
        """All files of a revision, in the order of their paths."""
        with self._errors(f"the files of {repo.repo_type} {repo.repo_id} at {revision}"):
            tree = self._api.list_repo_tree(
                repo.repo_id, repo_type=repo.repo_type, revision=revision, recursive=True
            )
            files = [entry for entry in tree if hasattr(entry, "blob_id")]
        return sorted(
            (RepoFile(f.path, f.size, f.blob_id, f.lfs.sha256 if f.lfs else None) for f in files),
            key=lambda file: file.path,
        )

    def read_file(
        self, repo: Repo, path: str, revision: str, *, max_bytes: int = 10_000_000
    ) -> bytes | None:
        """The bytes of one file, or None when the revision has no such file."""
        with self._errors(f"{path} of {repo.repo_type} {repo.repo_id} at {revision}"):
            found = self._api.get_paths_info(
                repo.repo_id, [path], repo_type=repo.repo_type, revision=revision
            )
            if not found:
                return None
            if found[0].size > max_bytes:
                raise HubError(
                    f"{path} is larger than {max_bytes:,} bytes.",
                    where=f"{repo.repo_id}@{revision}",
                    got=f"{found[0].size:,} bytes",
                    do="Make the file smaller, or ask the repo's owner to.",
                )
            local = self._api.hf_hub_download(
                repo.repo_id, path, repo_type=repo.repo_type, revision=revision
            )
        return Path(local).read_bytes()

    def read_beginning(self, repo: Repo, path: str, commit_sha: str, num_bytes: int) -> bytes:
        """The first bytes of a file, however large it is."""
        from huggingface_hub import get_session, hf_hub_url
        from huggingface_hub.utils import hf_raise_for_status

        url = hf_hub_url(
            repo.repo_id, path, repo_type=repo.repo_type, revision=commit_sha, endpoint=self.url
        )
        headers = {**self._api._build_hf_headers(), "range": f"bytes=0-{num_bytes - 1}"}
        found = b""
        with (
            self._errors(f"{path} of {repo.repo_type} {repo.repo_id} at {commit_sha}"),
            get_session().stream("GET", url, headers=headers, follow_redirects=True) as answer,
        ):
            hf_raise_for_status(answer)
            for chunk in answer.iter_bytes():  # a server may ignore the range
                found += chunk
                if len(found) >= num_bytes:
                    break
        return found[:num_bytes]

    def download(
        self, repo: Repo, commit_sha: str, *, allow: Sequence[str], into: Path | None = None
    ) -> Path:
        """A folder with the files of a commit that match `allow`; nothing else is fetched."""
        with self._errors(f"{repo.repo_type} {repo.repo_id} at {commit_sha}"):
            folder = self._api.snapshot_download(
                repo.repo_id,
                repo_type=repo.repo_type,
                revision=commit_sha,
                allow_patterns=list(allow),
                local_dir=into,
                max_workers=4,
            )
        return Path(folder)

    def card_problems(self, text: str, repo_type: RepoType = "model") -> list[str]:
        """What the Hub would refuse in the metadata of a card; nothing is a good card."""
        with self._errors("checking the metadata of a card"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._api._validate_yaml(text, repo_type=repo_type)
            except ValueError as error:
                return _card_faults(error)
        return []

    def holds_token(self, content: bytes) -> bool:
        """Whether the token itself stands in `content`; for a last look before publishing."""
        token = self.token_for_child()
        return bool(token) and str(token).encode() in content

    def history(self, repo: Repo, revision: str = "main") -> list[HistoryEntry]:
        """The commits of a branch, newest first."""
        with self._errors(f"the history of {repo.repo_type} {repo.repo_id}"):
            commits = self._api.list_repo_commits(
                repo.repo_id, repo_type=repo.repo_type, revision=revision
            )
        return [
            HistoryEntry(
                c.commit_id, c.title, c.message, tuple(c.authors), c.created_at.isoformat()
            )
            for c in commits
        ]

    def last_commits(self, repo: Repo, paths: Sequence[str], revision: str) -> dict[str, str]:
        """Path -> sha of the commit that wrote the file as it is at `revision`."""
        with self._errors(f"the files of {repo.repo_type} {repo.repo_id} at {revision}"):
            at = {"revision": revision, "repo_type": repo.repo_type}
            found = self._api.get_paths_info(repo.repo_id, paths, expand=True, **at)
        return {f.path: str(f.last_commit.oid) if f.last_commit else "unknown" for f in found}

    def tags(self, repo: Repo) -> dict[str, str]:
        """Tag name -> commit sha."""
        with self._errors(f"the tags of {repo.repo_type} {repo.repo_id}"):
            refs = self._api.list_repo_refs(repo.repo_id, repo_type=repo.repo_type)
        return {tag.name: tag.target_commit for tag in refs.tags}

    def models_trained_on(self, dataset_id: str, *, author: str) -> list[str]:
        """Model repos of `author` whose card names the dataset, newest first."""
        with self._errors(f"the models trained on {dataset_id}"):
            models = self._api.list_models(
                author=author, filter=f"dataset:{dataset_id}", sort="last_modified"
            )
            return [model.id for model in models]

    def downloads(self, repo: Repo) -> int:
        """How often the Hub says that it was downloaded of late."""
        return int(self._info(repo).downloads or 0)

    def find_models(self, tag: str, *, max_parameters: int, limit: int) -> list[tuple[str, int]]:
        """(repo, downloads) of models with safetensors under a pipeline tag, most loaded first."""
        size = f"min:0,max:{max_parameters}"
        with self._errors(f"the models for {tag}"):
            found = self._api.list_models(
                filter=[tag, "safetensors"], num_parameters=size, sort="downloads", limit=limit
            )
            return [(str(one.id), int(one.downloads or 0)) for one in found]

    def create_repo(
        self,
        repo: Repo,
        *,
        private: bool = True,
        space_sdk: str | None = None,
        space_hardware: str | None = None,
    ) -> None:
        """Create the repo unless it exists."""
        with self._errors(f"creating {repo.repo_type} {repo.repo_id}"):
            self._api.create_repo(
                repo.repo_id,
                repo_type=repo.repo_type,
                private=private,
                exist_ok=True,
                space_sdk=space_sdk,
                space_hardware=None if space_hardware == "cpu-basic" else space_hardware,
            )

    def commit(
        self,
        repo: Repo,
        changes: Changes,
        *,
        message: str,
        run_id: str,
        parent_commit: str | None = None,
        pull_request: str | int | None = None,
    ) -> Commit:
        """One atomic commit on main, on a pull request by number, or as a new one as described.

        The first line of `message` is the title, what follows a blank line the body.
        `run_id` names the intent: after a lost answer it is searched for before trying again, so
        that one intent never becomes two commits. Raises HubError when main is not at
        `parent_commit` any more.
        """
        operations = _operations(changes)
        title, _, body = message.partition("\n\n")
        trailer = "\n".join(part for part in (body, f"{RUN_TRAILER}: {run_id}") if part)
        opens = isinstance(pull_request, str)
        number = pull_request if isinstance(pull_request, int) else None
        revision = f"refs/pr/{number}" if number else None

        def send() -> Commit:
            additions = [op for op in operations if hasattr(op, "path_or_fileobj")]
            self._api.preupload_lfs_files(
                repo.repo_id,
                additions,
                repo_type=repo.repo_type,
                revision=revision,
                create_pr=opens,
                free_memory=False,
            )
            made = self._api.create_commit(
                repo.repo_id,
                operations,
                commit_message=title,
                commit_description=f"{pull_request}\n\n{trailer}" if opens else trailer,
                repo_type=repo.repo_type,
                revision=revision,
                parent_commit=parent_commit,
                create_pr=opens,
            )
            return Commit(made.oid, str(made.commit_url), made.pr_num if opens else number)

        def find() -> Commit | None:
            if revision is None:
                return self._find_run(repo, run_id, in_pull_requests=opens)
            [(tip, told)] = self._newest(repo, revision, 1)
            return Commit(tip, self.url, number) if run_id in told else None

        with self._errors(f"the commit to {repo.repo_type} {repo.repo_id}"):
            return find() or _send_once(send, find)

    def find_commit(self, repo: Repo, run_id: str) -> Commit | None:
        """The recent commit on main that was made with `run_id`, None when there is none."""
        with self._errors(f"the history of {repo.repo_type} {repo.repo_id}"):
            return self._find_run(repo, run_id, in_pull_requests=False)

    def _find_run(self, repo: Repo, run_id: str, *, in_pull_requests: bool) -> Commit | None:
        """The commit that carries `run_id`, if an earlier attempt made it."""
        needle = f"{RUN_TRAILER}: {run_id}"
        if in_pull_requests:
            mine = self.user()["name"]
            for request in self.pull_requests(repo, status=None, author=mine):
                if request.head_sha and self._carries(repo, request.head_sha, needle):
                    url = self.discussion_page(repo, request.number)
                    return Commit(request.head_sha, url, request.number)
            return None
        for commit_sha, message in self._newest(repo, "main", RECENT_COMMITS):
            if needle in message:
                return Commit(commit_sha, f"{self.url}/{_web_path(repo)}/commit/{commit_sha}")
        return None

    def _carries(self, repo: Repo, commit_sha: str, needle: str) -> bool:
        return any(needle in message for _, message in self._newest(repo, commit_sha, 1))

    def _newest(self, repo: Repo, revision: str, count: int) -> list[tuple[str, str]]:
        """(sha, message) of the newest commits: one page, however long the history is."""
        from huggingface_hub.utils import paginate

        url = f"{self.url}/api/{repo.repo_type}s/{repo.repo_id}/commits/{revision}"
        found = paginate(url, params={}, headers=self._api._build_hf_headers())
        return [(commit["id"], commit["message"]) for commit in islice(found, count)]

    def tag(self, repo: Repo, name: str, commit_sha: str) -> None:
        """Tag a commit; the same tag again is no error."""
        with self._errors(f"tag {name} of {repo.repo_type} {repo.repo_id}"):
            self._api.create_tag(
                repo.repo_id, tag=name, revision=commit_sha, repo_type=repo.repo_type, exist_ok=True
            )

    def set_space_variables(self, repo: Repo, variables: Mapping[str, str]) -> None:
        """Set environment variables of a Space."""
        with self._errors(f"the variables of space {repo.repo_id}"):
            for key, value in variables.items():
                self._api.add_space_variable(repo.repo_id, key, value)

    def pull_requests(
        self, repo: Repo, *, status: str | None = "open", author: str | None = None
    ) -> list[PullRequest]:
        """Pull requests, oldest first; `status` open, closed, or None for all of them."""
        with self._errors(f"the pull requests of {repo.repo_type} {repo.repo_id}"):
            found = list(
                self._api.get_repo_discussions(
                    repo.repo_id,
                    repo_type=repo.repo_type,
                    discussion_type="pull_request",
                    discussion_status=status,
                    author=author,
                )
            )
            heads = self._heads(repo) if found else {}
        return sorted(
            (_pull_request(request, heads.get(request.num)) for request in found),
            key=lambda request: request.number,
        )

    def pull_request(self, repo: Repo, number: int) -> PullRequest:
        """One pull request, with the sha that refs/pr/N has now."""
        with self._errors(f"pull request {number} of {repo.repo_type} {repo.repo_id}"):
            found = self._api.get_discussion_details(repo.repo_id, number, repo_type=repo.repo_type)
            if not found.is_pull_request:
                told = f"Number {number} is a discussion, not a pull request."
                do = "Give the number of a pull request, as its page has it."
                raise HubError(told, where=repo.repo_id, do=do)
            return _pull_request(found, self._heads(repo).get(number))

    def _heads(self, repo: Repo) -> dict[int, str]:
        refs = self._api.list_repo_refs(
            repo.repo_id, repo_type=repo.repo_type, include_pull_requests=True
        )
        return {
            int(ref.ref.rsplit("/", 1)[-1]): ref.target_commit for ref in refs.pull_requests or []
        }

    def comments(self, repo: Repo, number: int) -> list[tuple[str, str]]:
        """(author, text) of each comment of a discussion or pull request, oldest first."""
        with self._errors(f"the comments of number {number} of {repo.repo_id}"):
            found = self._api.get_discussion_details(repo.repo_id, number, repo_type=repo.repo_type)
        return [(e.author, e.content) for e in found.events if e.type == "comment"]

    def comment(self, repo: Repo, number: int, text: str) -> None:
        """Write a comment under a discussion or pull request."""
        with self._errors(f"a comment on number {number} of {repo.repo_id}"):
            self._api.comment_discussion(repo.repo_id, number, text, repo_type=repo.repo_type)

    def rewrite_comment(self, repo: Repo, number: int, text: str, *, marker: str) -> None:
        """Put `text` in place of one's own comment that holds `marker`, or write it."""
        mine, where = self.user()["name"], {"repo_type": repo.repo_type}
        with self._errors(f"a comment on number {number} of {repo.repo_id}"):
            found = self._api.get_discussion_details(repo.repo_id, number, **where)
            for event in found.events:
                if event.type == "comment" and event.author == mine and marker in event.content:
                    self._api.edit_discussion_comment(repo.repo_id, number, event.id, text, **where)
                    return
        self.comment(repo, number, text)

    def close(self, repo: Repo, number: int, comment: str | None = None) -> None:
        """Close a discussion or pull request."""
        with self._errors(f"closing number {number} of {repo.repo_id}"):
            self._api.change_discussion_status(
                repo.repo_id, number, "closed", comment=comment, repo_type=repo.repo_type
            )

    @contextmanager
    def _errors(self, subject: str) -> Iterator[None]:
        """Turn the client's exceptions into HubError, with what to do."""
        from huggingface_hub import errors

        try:
            yield
        except HubError:
            raise
        except (
            errors.HTTPError,
            errors.LocalEntryNotFoundError,
            OSError,
            JSONDecodeError,
        ) as error:
            if isinstance(error, OSError) and error.errno in OF_THE_DISK:
                raise
            if isinstance(error, errors.LocalTokenNotFoundError):
                do = "Set HF_TOKEN to a token of yours, or log in with hf auth login."
                raise HubError("Nobody is signed in.", where=self.url, do=do) from None
            raise explained(error, subject, self.url) from error
        except RuntimeError as error:  # the client's wrapper around a failed upload
            if not isinstance(error.__cause__, errors.HTTPError | OSError):
                raise
            raise explained(error.__cause__, subject, self.url) from error
        except errors.HFValidationError as error:
            do = "Write a name as the Hub has them: owner/name."
            raise HubError(f"The Hub has no such name: {subject}.", got=str(error), do=do) from None
        except ValueError as error:  # the client asks the Hub about a card before it commits it
            what, do = (
                f"The Hub refuses the card in {subject}.",
                "Correct the recipe or the source.",
            )
            raise HubError(what, got="; ".join(_card_faults(error)), do=do) from None


def _card_faults(error: ValueError) -> list[str]:
    """What the Hub refuses in a card; an error of another kind is raised again."""
    if not str(error).startswith("Invalid metadata"):
        raise error
    return [line.removeprefix("- ") for line in str(error).splitlines()[1:]]


def _operations(changes: Changes) -> list[Any]:
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    operations: list[Any] = []
    for path, content in changes.files.items():
        source = content if isinstance(content, bytes) else str(content)
        operations.append(CommitOperationAdd(path, source))
    for copy in changes.copies:
        operations.append(CommitOperationCopy(copy.path, copy.path, src_revision=copy.src_revision))
    operations += [CommitOperationDelete(path) for path in changes.deletions]
    return operations


def _send_once(send: Callable[[], Commit], find: Callable[[], Commit | None]) -> Commit:
    """Send until it is known to have taken effect once; a lost answer is looked up first."""
    from huggingface_hub import errors

    for attempt in range(MAX_ATTEMPTS):
        try:
            return send()
        except (errors.HTTPError, OSError, JSONDecodeError, RuntimeError) as error:
            status = status_of(error)
            final = status is not None and status < 500 and status not in (409, 429)
            if final or attempt == MAX_ATTEMPTS - 1:
                raise
        time.sleep(random.uniform(0.5, 1.0) * 2**attempt)  # noqa: S311 - jitter, not a secret
        found = find()
        if found:
            return found
    raise AssertionError("unreachable")


def _pull_request(found: Any, head_sha: str | None) -> PullRequest:
    return PullRequest(
        number=found.num,
        title=found.title,
        author=found.author,
        status=found.status,
        head_sha=head_sha,
        created_at=found.created_at.isoformat(),
    )


def _web_path(repo: Repo) -> str:
    return repo.repo_id if repo.repo_type == "model" else f"{repo.repo_type}s/{repo.repo_id}"
