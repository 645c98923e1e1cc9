"""The outbox: every rating reaches the dataset once, whatever the Hub does meanwhile."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hub_trainer.errors import HubError, UsageError
from hub_trainer.hub import Changes, Hub, Repo
from hub_trainer.local_hub import LocalHub
from hub_trainer.ratings import Outbox, RatingStore, read_shards
from hub_trainer.ratings.outbox import Destination
from hub_trainer.ratings.shards import SHARDS, parse_shard_path
from hub_trainer.space.raters import rater_key
from tests.ratings.factory import generation, rating
from tests.ratings.faults import FAULTS, FaultyHub


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub() as running:
        yield running


@pytest.fixture
def hub(local: LocalHub) -> Hub:
    return Hub(local.url, local.token)


@pytest.fixture
def destination(hub: Hub, local: LocalHub, tmp_path: Path) -> Destination:
    repo_id = f"{local.user}/{tmp_path.name}"
    hub.create_repo(Repo(repo_id, "dataset"))
    return Destination(repo_id, "org/space", "text-classification", "text")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RatingStore]:
    store = RatingStore(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.sleep
    monkeypatch.setattr("time.sleep", lambda seconds: real(0.001))


def _rate(store: RatingStore, *numbers: int) -> None:
    for number in numbers:
        store.add_generation(generation(f"g{number}")).result()
        store.add_rating(rating(f"g{number}"), max_per_hour=10**9).result()


def _published(hub: Hub, destination: Destination, tmp_path: Path) -> list[str]:
    """Generation ids in the dataset, in order, and no rating in two files."""
    repo = Repo(destination.repo_id, "dataset")
    commit_sha = hub.resolve(repo)
    folder = hub.download(repo, commit_sha, allow=[SHARDS], into=tmp_path / commit_sha)
    paths = [f.path for f in hub.list_files(repo, commit_sha) if parse_shard_path(f.path)]
    rows = sum(name.last - name.first + 1 for name in map(parse_shard_path, paths) if name)
    found = [one["generation_id"] for one in read_shards(folder)]
    assert rows == len(found)
    return found


def _until(condition: Callable[[], bool], limit_seconds: float = 20.0) -> None:
    end = time.monotonic() + limit_seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def test_flush_when_ratings_wait_commits_them_in_order(
    store: RatingStore, hub: Hub, destination: Destination, tmp_path: Path
) -> None:
    outbox = Outbox(store, hub, destination)
    _rate(store, 1, 2, 3)
    assert outbox.status().waiting == 3
    assert outbox.flush() == 3
    assert outbox.flush() == 0
    _rate(store, 4)
    assert outbox.flush() == 1
    assert _published(hub, destination, tmp_path) == ["g1", "g2", "g3", "g4"]
    status = outbox.status()
    assert (status.kept, status.waiting, status.last_error) == (4, 0, None)
    assert status.last_flush is not None


@pytest.mark.usefixtures("no_sleep")
@pytest.mark.parametrize("fault", FAULTS)
def test_flush_when_a_commit_fails_in_any_way_then_sent_once(
    fault: str,
    local: LocalHub,
    store: RatingStore,
    hub: Hub,
    destination: Destination,
    tmp_path: Path,
) -> None:
    with FaultyHub(local.url, share=0.0, seed=0) as faulty:
        outbox = Outbox(store, Hub(faulty.url, local.token), destination)
        _rate(store, 1, 2)
        faulty.plan = [fault] * 20
        for _ in range(5):
            try:
                outbox.flush()
            except HubError:
                outbox._settled = False
        faulty.plan = []
        outbox.flush()
        assert faulty.seen[fault] >= 1
    assert _published(hub, destination, tmp_path) == ["g1", "g2"]
    assert len(hub.history(Repo(destination.repo_id, "dataset"))) == 2


def test_flush_when_restarted_between_commit_and_note_then_not_sent_again(
    store: RatingStore, hub: Hub, destination: Destination, tmp_path: Path
) -> None:
    _rate(store, 1, 2)
    store.mark_sent = lambda shard, commit_sha: None  # type: ignore[method-assign]
    with pytest.raises(RecursionError):
        _flush_once_then_die(Outbox(store, hub, destination))
    del store.mark_sent
    _rate(store, 3)
    assert Outbox(store, hub, destination).flush() == 1
    assert _published(hub, destination, tmp_path) == ["g1", "g2", "g3"]


def _flush_once_then_die(outbox: Outbox) -> None:
    """Stop where the commit is on the Hub and the store does not know it yet."""
    real = outbox._send

    def once(shard: object) -> int:
        real(shard)  # type: ignore[arg-type]
        raise RecursionError("dies here")

    outbox._send = once  # type: ignore[method-assign]
    outbox.flush()


def test_flush_when_the_dataset_was_made_anew_then_sent_again(
    store: RatingStore, hub: Hub, local: LocalHub, destination: Destination, tmp_path: Path
) -> None:
    _rate(store, 1, 2)
    Outbox(store, hub, destination).flush()
    repo = Repo(destination.repo_id, "dataset")
    HfApi(local.url, local.token).delete_repo(repo.repo_id, repo_type="dataset")
    hub.create_repo(repo)
    assert _published(hub, destination, tmp_path) == []
    assert Outbox(store, hub, destination).flush() == 2
    assert _published(hub, destination, tmp_path) == ["g1", "g2"]


def test_folder_when_a_later_model_uses_it_then_ratings_of_both_are_sent_once(
    tmp_path: Path, hub: Hub, destination: Destination
) -> None:
    """The Spaces of a recipe, one after the other: ratings that waited go out with the later."""
    models = ["org/model@" + digit * 40 for digit in "ab"]
    keys, epochs = set(), set()
    for round_number, model in enumerate(models):
        store = RatingStore(tmp_path / "ratings")
        keys.add(rater_key(tmp_path / "ratings", {}))
        epochs.add(store.epoch)
        outbox = Outbox(store, hub, destination)
        for name in (f"sent-{round_number}", f"waiting-{round_number}"):
            store.add_generation(generation(name, model=model)).result()
            store.add_rating(rating(name), max_per_hour=9).result()
            if name.startswith("sent") or round_number == 1:
                outbox.flush()
        store.close()
    assert len(keys) == len(epochs) == 1
    assert _published(hub, destination, tmp_path) == ["sent-0", "waiting-0", "sent-1", "waiting-1"]
    repo = Repo(destination.repo_id, "dataset")
    folder = hub.download(repo, hub.resolve(repo), allow=[SHARDS], into=tmp_path / "read")
    assert [one["model"] for one in read_shards(folder)] == [models[0]] * 2 + [models[1]] * 2


@pytest.mark.parametrize("changed", ["dataset", "task"])
def test_folder_when_its_ratings_are_for_something_else_then_none_is_sent(
    store: RatingStore, hub: Hub, destination: Destination, changed: str
) -> None:
    _rate(store, 1)
    Outbox(store, hub, destination)
    other = (
        Destination("org/other", "org/space", "text-classification", "text")
        if changed == "dataset"
        else Destination(destination.repo_id, "org/space", "image-classification", "image")
    )
    with pytest.raises(UsageError) as caught:
        Outbox(store, hub, other)
    assert caught.value.what == "The ratings in this file were given for another dataset or task."
    assert caught.value.where == str(store.path)
    earlier = f"text-classification in {destination.repo_id}"
    assert caught.value.got == f"{earlier}, not {other.task} in {other.repo_id}"
    assert str(caught.value.do).startswith("Move the file aside")
    assert Outbox(store, hub, destination).flush() == 1


def test_flush_when_the_disk_came_back_empty_then_old_shards_stay(
    tmp_path: Path, hub: Hub, destination: Destination
) -> None:
    for name in ("first", "second"):
        store = RatingStore(tmp_path / name)
        _rate(store, *([1, 2] if name == "first" else [3]))
        Outbox(store, hub, destination).flush()
        store.close()
    assert sorted(_published(hub, destination, tmp_path)) == ["g1", "g2", "g3"]


def test_flush_when_rows_are_many_then_in_several_files(
    store: RatingStore,
    hub: Hub,
    destination: Destination,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub_trainer.ratings.outbox.MAX_SHARD_ROWS", 2)
    _rate(store, *range(5))
    assert Outbox(store, hub, destination).flush() == 5
    files = hub.list_files(Repo(destination.repo_id, "dataset"), "main")
    bounds = [(n.first, n.last) for n in (parse_shard_path(f.path) for f in files) if n]
    assert bounds == [(1, 2), (3, 4), (5, 5)]
    assert all(f.lfs_sha256 for f in files if f.path.endswith(".parquet"))
    assert len(_published(hub, destination, tmp_path)) == 5


@pytest.mark.usefixtures("no_sleep")
def test_thread_when_the_hub_is_down_keeps_ratings_says_why_and_catches_up(
    local: LocalHub,
    store: RatingStore,
    hub: Hub,
    destination: Destination,
    tmp_path: Path,
) -> None:
    outbox = Outbox(store, Hub("http://127.0.0.1:9", "hf_x"), destination, flush_seconds=0.01)
    _rate(store, 1)
    outbox.start()
    _until(lambda: outbox.status().last_error is not None)
    status = outbox.status()
    assert "does not answer" in str(status.last_error)
    assert (status.kept, status.waiting, status.last_flush) == (1, 1, None)
    outbox._hub = hub
    _until(lambda: outbox.status().waiting == 0)
    assert outbox.stop()
    assert _published(hub, destination, tmp_path) == ["g1"]
    assert outbox.status().last_error is None


def test_thread_when_something_unforeseen_happens_then_outlives_it(
    store: RatingStore, hub: Hub, destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> bytes:
        raise ZeroDivisionError("unforeseen")

    monkeypatch.setattr("hub_trainer.ratings.outbox.pack_shard", broken)
    outbox = Outbox(store, hub, destination, flush_seconds=0.01)
    _rate(store, 1)
    outbox.start()
    _until(lambda: outbox.status().last_error is not None)
    assert "unforeseen" in str(outbox.status().last_error)
    monkeypatch.undo()
    _until(lambda: outbox.status().waiting == 0)
    assert outbox.stop()


def test_thread_when_enough_ratings_came_sends_before_its_time(
    store: RatingStore, hub: Hub, destination: Destination
) -> None:
    outbox = Outbox(store, hub, destination, flush_seconds=600, flush_rows=3)
    outbox.start()
    _until(lambda: outbox.status().last_flush is not None)
    for number in range(3):
        _rate(store, number)
        outbox.notify()
    _until(lambda: outbox.status().waiting == 0)
    assert outbox.stop()


def test_stop_when_ratings_wait_sends_them_first(
    store: RatingStore, hub: Hub, destination: Destination, tmp_path: Path
) -> None:
    outbox = Outbox(store, hub, destination, flush_seconds=600)
    outbox.start()
    _until(lambda: outbox.status().last_flush is not None)
    _rate(store, 1, 2)
    assert outbox.stop()
    assert _published(hub, destination, tmp_path) == ["g1", "g2"]


def test_stop_when_the_hub_does_not_answer_gives_up_in_time(
    store: RatingStore, hub: Hub, destination: Destination
) -> None:
    outbox = Outbox(store, Hub("http://127.0.0.1:9", "hf_x"), destination, flush_seconds=600)
    _rate(store, 1)
    outbox.start()
    outbox.stop(limit_seconds=0.1)
    assert store.counts().waiting == 1


def test_flush_when_the_dataset_is_missing_says_so(
    store: RatingStore, hub: Hub, local: LocalHub
) -> None:
    missing = Destination(f"{local.user}/no-such-dataset", "org/space", "t", "text")
    with pytest.raises(HubError, match="no-such-dataset"):
        Outbox(store, hub, missing).flush()


def test_flush_when_others_commit_too_then_both_are_kept(
    store: RatingStore, hub: Hub, destination: Destination, tmp_path: Path
) -> None:
    repo = Repo(destination.repo_id, "dataset")
    _rate(store, 1)
    outbox = Outbox(store, hub, destination)
    outbox.flush()
    hub.commit(repo, Changes({"notes.txt": b"by hand"}), message="Notes", run_id="notes")
    _rate(store, 2)
    outbox.flush()
    assert hub.read_file(repo, "notes.txt", "main") == b"by hand"
    assert _published(hub, destination, tmp_path) == ["g1", "g2"]


def test_stored_when_asked_comes_back_once_the_hub_has_all_that_was_kept(
    store: RatingStore, hub: Hub, destination: Destination, tmp_path: Path
) -> None:
    outbox = Outbox(store, hub, destination, flush_seconds=3600.0)
    outbox.start()
    _rate(store, 1, 2)
    waiting = [outbox.stored(), outbox.stored()]
    for future in waiting:
        future.result(30)
    assert _published(hub, destination, tmp_path) == ["g1", "g2"]
    assert outbox.status().waiting == 0
    assert outbox.stop()


def test_stored_when_the_hub_is_down_fails_with_what_it_said(
    store: RatingStore, destination: Destination, no_sleep: None
) -> None:
    outbox = Outbox(store, Hub("http://127.0.0.1:9", "hf_x"), destination, flush_seconds=3600.0)
    outbox.start()
    _rate(store, 1)
    with pytest.raises(HubError, match="does not answer"):
        outbox.stored().result(30)
    assert outbox.status().waiting == 1
    outbox.stop()


def test_ratings_when_commits_are_many_are_gathered_for_longer(
    store: RatingStore, hub: Hub, destination: Destination
) -> None:
    outbox = Outbox(store, hub, destination)
    assert outbox._gather_seconds() == 0
    outbox.stored()
    assert outbox._gather_seconds() == 0.5
    outbox._commits.extend([time.monotonic()] * 60)
    assert outbox._gather_seconds() == 60
