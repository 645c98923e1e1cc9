"""The folder as it will stand on the Hub: the model, its card, its figures and its record."""

import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub_trainer.artifacts import write_durably
from hub_trainer.cards import (
    CURVE_FIGURE,
    FIGURES,
    BaseModel,
    CardFacts,
    LicenceDecision,
    Presentation,
    decide_licence,
    eval_results,
    render_card,
    results_section,
)
from hub_trainer.errors import HubError, RecipeError
from hub_trainer.finetune.model_folder import (
    ADAPTER_CONFIG,
    CONFIG,
    adapter_base,
    download_model,
    is_adapter,
)
from hub_trainer.hub import Hub, RepoIdentity
from hub_trainer.lineage import (
    RECORD,
    PinnedRepo,
    Pins,
    RoundRecord,
    file_hashes,
    pinned_ratings,
    read_record,
)
from hub_trainer.recipe.chat_templates import digest
from hub_trainer.reports import DatasetReport
from hub_trainer.stages.publish.proof import Loaded, prove_reload
from hub_trainer.stages.publish.round import FinishedRound
from hub_trainer.stages.publish.sources import (
    contributors,
    has_chat_template,
    languages,
    licence_problems,
    licensed_works,
    machine_annotated,
    training_datasets,
)
from hub_trainer.stages.publish.thumbnails import draw_thumbnails

if TYPE_CHECKING:
    from hub_trainer.tasks import ModelCard

CARD = "README.md"
PLAIN_PROMPT = '"Write your prompt here."'
CHAT_PROMPT = '[{"role": "user", "content": "Write your prompt here."}]'


@dataclass(frozen=True)
class Evidence:
    """What is said beside the files: the pull request's description, and the proof's outcome."""

    pull_request: str
    reload: dict[str, Any]
    record: RoundRecord
    """As it stands in the folder; which repo it is sent to is added last."""


def write_folder(folder: Path, finished: FinishedRound, hub: Hub, *, now: datetime) -> Evidence:
    """Fill `folder` with all that is published. Raises when the model must not be."""
    licence = _licence(finished, hub)
    _link_model(finished.artifacts["train"].folder / "model", folder)
    language = finished.train.language
    # The base of an adapter, which the folder does not hold.
    named = adapter_base(hub, folder)
    loaded = Loaded(
        task=finished.recipe.task,
        label_names=finished.prepared.label_names,
        chat_template=has_chat_template(hub, finished.pins.base_model),
        template=language.chat_template if language else None,
        base_dir=(download_model(hub, *named) if named else None),
        answer=finished.results.answer,
    )
    reload = prove_reload(folder, finished.expected(), loaded)
    _copy_figures(finished, folder)
    thumbnails = draw_thumbnails(finished, hub, folder)
    facts = replace(_facts(finished, hub, folder, licence, reload), thumbnails=thumbnails)
    card = render_card(facts)
    refused = hub.card_problems(card)
    if refused:
        do = "Correct what it names in publish of the recipe, or in the card of the source."
        raise HubError("The Hub refuses the model's card.", got="; ".join(refused), do=do)
    files = {CARD: card.encode(), **eval_results(facts, date=now.date().isoformat())}
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        write_durably(folder / path, content)
    record = _record(finished, folder, now)
    write_record(folder, record, None)
    return Evidence(f"{finished.title}\n\n{results_section(facts)}", reload, record)


def write_record(folder: Path, record: RoundRecord, repo: RepoIdentity | None) -> None:
    """Write the round's record, with the repo that it is sent to once that is there."""
    known = {"hub_id": repo.hub_id, "owner": repo.owner} if repo else None
    content = json.dumps(replace(record, repo=known).to_json(), indent=1, ensure_ascii=False)
    write_durably(folder / RECORD, content.encode())


def _licence(finished: FinishedRound, hub: Hub) -> LicenceDecision:
    recipe, pins = finished.recipe, finished.pins
    learned_from = training_datasets(pins.datasets, finished.collected.datasets)
    decision = decide_licence(
        recipe.publish.license,
        licensed_works(hub, pins.base_model, learned_from),
        name=recipe.publish.license_name,
        link=recipe.publish.license_link,
    )
    if decision.problems:
        raise RecipeError(licence_problems(decision), source="recipe")
    return decision


def _link_model(model: Path, folder: Path) -> None:
    """The model's files, as links where the disk can: they are not changed any more."""
    for source in sorted(path for path in model.rglob("*") if path.is_file()):
        target = folder / source.relative_to(model)
        if target.name == CARD:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def _copy_figures(finished: FinishedRound, folder: Path) -> None:
    """The pictures that evaluate and train have drawn, where they drew one."""
    curve = finished.artifacts["train"].folder / "curve.png"
    drawn_ones = [(curve, CURVE_FIGURE)]
    for drawn in finished.artifacts["evaluate"].folder.glob("*.png"):
        drawn_ones.append((drawn, f"{FIGURES}/{drawn.name}"))
    for drawn, figure in drawn_ones:
        if drawn.exists():
            (folder / figure).parent.mkdir(exist_ok=True)
            shutil.copyfile(drawn, folder / figure)


def _facts(
    finished: FinishedRound,
    hub: Hub,
    folder: Path,
    licence: LicenceDecision,
    reload: dict[str, Any],
) -> CardFacts:
    from hub_trainer.tasks import task_of  # heavy; `check` imports this package too

    task = task_of(finished.recipe)
    card = task.card()
    pins = finished.pins
    learned_from = training_datasets(pins.datasets, finished.collected.datasets)
    return CardFacts(
        recipe=finished.recipe,
        round_index=pins.round,
        parent=pins.parent,
        base_model=_base_model(finished, hub, folder),
        collected=finished.collected,
        prepared=finished.prepared,
        fit=finished.fit,
        results=finished.results,
        versions=finished.versions,
        licence=licence,
        presentation=Presentation(
            endpoint=hub.url,
            library_name="peft" if is_adapter(folder) else card.library_name,
            usage=_usage(card, folder),
            tags=card.tags,
            languages=languages(hub, learned_from),
            contributors=contributors(hub, learned_from),
            reload=reload,
            machine_annotated=machine_annotated(hub, [*learned_from, *_rated(finished)]),
            estimator=_estimator(folder),
        ),
        tune=finished.tune,
        has_curve=(folder / CURVE_FIGURE).exists(),
    )


def _usage(card: "ModelCard", folder: Path) -> str:
    """How the folder is used, with a prompt as it takes one."""
    usage = card.adapter_usage if is_adapter(folder) else card.usage
    assert usage is not None
    is_chat = (folder / "chat_template.jinja").exists()
    return usage.replace("{prompt}", CHAT_PROMPT if is_chat else PLAIN_PROMPT)


def _estimator(folder: Path) -> str | None:
    """Which estimator a table's model is; its config.json says so."""
    path = folder / CONFIG
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return str(content["estimator"]) if "estimator" in content else None


def _rated(finished: FinishedRound) -> list[PinnedRepo]:
    ratings = pinned_ratings(finished.recipe, finished.pins)
    return [ratings] if ratings else []


def _base_model(finished: FinishedRound, hub: Hub, folder: Path) -> BaseModel | None:
    base = finished.pins.base_model
    if base is None:
        return None
    if not finished.train.method_facts.needs_weights:
        return BaseModel(base.repo_id, base.commit_sha, None, base.repo_id)
    repo_id, commit_sha, relation = base.repo_id, base.commit_sha, "finetune"
    if is_adapter(folder):
        config = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        repo_id, commit_sha = config["base_model_name_or_path"], config["revision"]
        relation = "adapter"
    origin = _origin(hub, finished.recipe.publish.repo_id, repo_id, commit_sha)
    return BaseModel(repo_id, commit_sha, relation, origin)  # type: ignore[arg-type]


def _origin(hub: Hub, published_id: str, repo_id: str, commit_sha: str) -> str | None:
    """The model that the rounds of a repo began with, when a round goes on from an earlier one."""
    while repo_id == published_id:
        record = read_record(hub, repo_id, commit_sha)
        if record is None or record.base_model is None:
            return None
        repo_id, commit_sha = record.base_model["repo_id"], record.base_model["commit_sha"]
    return repo_id


def _record(finished: FinishedRound, folder: Path, now: datetime) -> RoundRecord:
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    recipe, pins, results = finished.recipe, finished.pins, finished.results
    ratings, base, found = pinned_ratings(recipe, pins), pins.base_model, results.to_json()
    return RoundRecord(
        round=pins.round,
        run_id=pins.run_id,
        created_at=now.isoformat(timespec="seconds"),
        parent=pins.parent,
        task=recipe.task,
        recipe=recipe.model_dump(mode="json"),
        recipe_digest=pins.recipe_digest,
        base_model=_at(base),
        datasets=[_with_repo(entry, pins) for entry in finished.collected.datasets],
        ratings=_at(ratings),
        seed=recipe.train.seed,
        versions=finished.versions,
        train={**finished.fit.summary(), **_template_digest(finished)},
        metrics=found["metrics"],
        published=found["published"],
        base=asdict(results.base) if results.base else None,
        primary=results.primary,
        p_value=results.comparison.p_value if results.comparison else None,
        gate=found["gate"],
        label_names=list(finished.prepared.label_names),
        answer=results.answer,
        files=sorted({*files, RECORD}),
        hashes=file_hashes(folder),
        baselines=found["baselines"],
        written=found["writing"],
        tune=finished.tune.to_json() if finished.tune else None,
    )


def _template_digest(finished: FinishedRound) -> dict[str, str]:
    """What tells the chat template that the recipe names; the record's recipe holds it whole."""
    language = finished.train.language
    if language is None or language.chat_template is None:
        return {}
    return {"chat_template_sha256": digest(language.chat_template)}


def _at(pinned: PinnedRepo | None) -> dict[str, Any] | None:
    if pinned is None:
        return None
    return {
        "repo_id": pinned.repo_id,
        "commit_sha": pinned.commit_sha,
        "hub_id": pinned.hub_id,
        "owner": pinned.owner,
    }


def _with_repo(read: DatasetReport, pins: Pins) -> DatasetReport:
    """A dataset with the Hub's id and the owner of its repo."""
    for one in pins.datasets:
        if (one.repo_id, one.commit_sha) == (read.repo_id, read.commit_sha):
            return replace(read, hub_id=one.hub_id, owner=one.owner)
    return read
