"""The curate stage: what raters agree on becomes a pull request on the dataset."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from hub_trainer.artifacts import Artifact, Draft, make_artifact
from hub_trainer.checks.inspection import CHECKERS
from hub_trainer.hub import Hub, Repo
from hub_trainer.inputs.language_examples import Kind
from hub_trainer.recipe import Recipe, RepoRef
from hub_trainer.sandbox import kept_warm
from hub_trainer.stages.curate import answers, predicted
from hub_trainer.stages.curate.agreed_file import (
    UNKNOWN_LABEL,
    Numbers,
    counted,
    describe,
    propose,
)
from hub_trainer.stages.curate.curate_context import (
    Agreed,
    CurateContext,
    key_of,
    ratings_ref,
    target_source,
)
from hub_trainer.stages.curate.earlier import own_requests
from hub_trainer.stages.curate.new_dataset import Origin, create_dataset
from hub_trainer.stages.curate.reasons import hints, why_nothing
from hub_trainer.stages.curate.vetting import vet, vet_first
from hub_trainer.tasks import Task, task_of

Progress = Callable[[float, str], None]


def silent(share: float, doing: str) -> None:
    """Report progress to nobody."""


def run(recipe: Recipe, round_dir: Path, hub: Hub, *, progress: Progress = silent) -> Artifact:
    """Propose the agreed examples; the same ratings again find the same pull request.

    It runs between rounds, when the pins of a round are old: the newest ratings are compared with
    the newest rows, at the commits that these have now. A dataset of answers that does not exist
    yet is made with its first examples.
    """
    ratings, source = ratings_ref(recipe), target_source(recipe)
    test = recipe.prepare.test_split
    task = task_of(recipe)
    may_lack = [ratings, source] if _way_of(task).BEGINS_DATASET else [ratings]
    shas = _resolve(hub, may_lack)
    repos = [ref for ref in (source, test) if ref not in may_lack]
    shas |= {
        key_of(ref): hub.resolve(Repo(ref.repo_id, "dataset"), ref.revision) for ref in repos if ref
    }
    inputs = {
        "stage": "curate",
        "task": recipe.task,
        "ratings": ratings.model_dump(),
        "target": source.model_dump(),
        "test": test.model_dump() if test else None,
        "commits": sorted((*key, sha) for key, sha in shas.items()),
        "curate": recipe.curate.model_dump(),
        "proposed": _proposed(hub, source),
    }

    def make(draft: Draft) -> None:
        with (
            tempfile.TemporaryDirectory(prefix="hub-trainer-curate-") as scratch,
            kept_warm(CHECKERS),
        ):
            context = CurateContext(recipe, shas, task, hub, Path(scratch))
            if context.has(ratings):
                _curate(context, draft, progress)
            else:
                _nothing(draft, f"{ratings.repo_id} does not exist yet: there are no ratings.")
            draft.outputs["hints"] = hints(draft.outputs)

    return make_artifact(round_dir / "curate", inputs, make)


class Way(Protocol):
    """A module that makes examples of ratings."""

    BEGINS_DATASET: bool

    def agreed(self, context: CurateContext, draft: Draft, /) -> Agreed:
        """What raters agree on."""

    def numbers(self, context: CurateContext, outputs: Mapping[str, Any], /) -> Numbers:
        """What the pull request says of them."""


def _way_of(task: Task) -> Way:
    """By thumbs, pairs and edits where people talk with the model, else by votes on its answers."""
    return answers if task.converses else predicted


def _resolve(hub: Hub, refs: Sequence[RepoRef]) -> dict[tuple[str, str], str]:
    """Commits of the datasets that exist."""
    found = {}
    for ref in refs:
        repo = Repo(ref.repo_id, "dataset")
        if hub.exists(repo):
            found[key_of(ref)] = hub.resolve(repo, ref.revision)
    return found


def _proposed(hub: Hub, source: RepoRef) -> list[tuple[int, str, str | None]]:
    """What has become of earlier proposals: a closed one is not told of as open."""
    repo = Repo(source.repo_id, "dataset")
    if not hub.exists(repo):
        return []
    return [(one.number, one.status, one.head_sha) for one in own_requests(hub, repo)]


def _curate(context: CurateContext, draft: Draft, progress: Progress) -> None:
    progress(0.0, "reading ratings and rows")
    found = _way_of(context.task).agreed(context, draft)
    examples = found.examples
    if not examples:
        _no_example(context, draft)
        return
    progress(0.7, f"proposing {counted(len(examples), 'example')}")
    if found.kind is not None and not context.has(context.source):
        _create(context, draft, examples, found.kind)
    else:
        _propose(context, draft, examples)


def _create(
    context: CurateContext, draft: Draft, examples: Sequence[Mapping[str, Any]], kind: Kind
) -> None:
    examples, left_out = vet_first(context, examples)
    draft.outputs.update(left_out=left_out)
    if not examples:
        _no_example(context, draft)
        return
    repo_id, serve = context.source.repo_id, context.recipe.serve
    private = serve.private if serve else True
    made = create_dataset(
        context.hub,
        repo_id,
        examples,
        kind,
        origin=Origin(context.ratings, context.ratings_licence()),
        private=private,
    )
    draft.outputs.update(
        repo_id=repo_id,
        pull_request=None,
        commit_sha=made.commit_sha,
        url=made.url,
        rows=len(examples),
        summary=f"Made {repo_id} with {counted(len(examples), 'example')}, {_from_ratings(draft)}.",
    )


def _propose(context: CurateContext, draft: Draft, examples: Sequence[Mapping[str, Any]]) -> None:
    """Offer what review will take; say what stays out, and what is not offered at all."""
    vetted = vet(context, examples)
    checks = [check.to_dict() for check in vetted.checks]
    draft.outputs.update(
        left_out=dict(vetted.left_out),
        unknown_labels=vetted.left_out.get(UNKNOWN_LABEL, 0),
        review={"verdict": vetted.verdict, "checks": checks} if checks else None,
    )
    file = vetted.file
    if file is None:
        _no_example(context, draft)
        return
    if vetted.verdict == "refuse":
        why = "; ".join(vetted.reasons)
        what = f"{counted(file.rows, 'example')} {'is' if file.rows == 1 else 'are'} not proposed"
        _nothing(draft, f"{what}, as review would refuse: {why}.")
        return
    numbers = _way_of(context.task).numbers(context, draft.outputs)
    told = describe(context.recipe, context.ratings, file, numbers)
    made = propose(context.hub, context.target, file, told, vetted.open)
    assert made.pull_request is not None, "a proposal is a pull request"
    (draft.folder / PurePosixPath(file.path).name).write_bytes(file.content)
    repo_id = context.source.repo_id
    draft.outputs.update(
        repo_id=repo_id,
        pull_request=made.pull_request,
        commit_sha=made.commit_sha,
        url=context.hub.discussion_page(Repo(repo_id, "dataset"), made.pull_request),
        path=file.path,
        rows=file.rows,
        summary=f"Pull request {made.pull_request} on {repo_id} adds "
        f"{counted(file.rows, 'example')}, {_from_ratings(draft)}.",
    )


def _nothing(draft: Draft, summary: str) -> None:
    draft.outputs.update(pull_request=None, rows=0, summary=summary)


def _no_example(context: CurateContext, draft: Draft) -> None:
    needed = context.recipe.curate.min_raters or context.task.answer.usual_raters
    _nothing(draft, f"No new example: {why_nothing(draft.outputs, needed)}.")


def _from_ratings(draft: Draft) -> str:
    ratings, raters = draft.outputs["num_ratings"], draft.outputs["num_raters"]
    return f"from {counted(ratings, 'rating')} of {counted(raters, 'rater')}"
