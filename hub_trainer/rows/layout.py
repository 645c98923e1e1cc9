"""Layout of a dataset repo: the files of a config's split, by the Hub's rules, from names alone."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hub_trainer.errors import DataError
from hub_trainer.inputs.media import MEDIA, medium_of_reader
from hub_trainer.recipe.arguments import nearest
from hub_trainer.rows.card import (
    READER_SETTINGS,
    assert_safe_card,
    card_configs,
    card_features,
    unsafe_path,
    write_card,
)
from hub_trainer.rows.containers import held_back, refusal
from hub_trainer.rows.limits import Limits
from hub_trainer.rows.splits import split_names

READERS = ("parquet", "json", "csv", "text", *(one.reader for one in MEDIA.values()))
"""Builders of `datasets` that only parse; every other kind of file is refused."""
READ_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "parquet": (".parquet",),
    "json": (".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz"),
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "text": (".txt", ".text", ".md", ".txt.gz"),
    **{one.reader: (*one.suffixes, ".csv", ".jsonl", ".parquet") for one in MEDIA.values()},
}
"""How the names of the files end that a reader reads."""
ROW_SUFFIXES = READ_SUFFIXES["parquet"] + READ_SUFFIXES["json"] + READ_SUFFIXES["csv"]
SETTINGS = ".gitattributes"
IGNORED_NAMES = ("README.md", "dataset_infos.json")


@dataclass(frozen=True)
class SplitFiles:
    """The files of the splits that an expression reads, and a card which names only them."""

    config: str
    reader: str
    files: Mapping[str, tuple[str, ...]]
    """Split -> paths from the top of the repo."""
    card: dict[str, Any]
    notes: tuple[str, ...] = ()
    """What a person should know of the files that are not read."""

    def first_files(self) -> "SplitFiles":
        """The same with only the first file of each split; of a folder by labels, of each."""
        first = {name: _first_of(paths, self.reader) for name, paths in self.files.items()}
        return SplitFiles(
            self.config, self.reader, first, only_config(self.card, self.config, first)
        )


def find_split_files(
    names: Sequence[str],
    card: Mapping[str, Any],
    *,
    config: str | None,
    split: str,
    where: str,
) -> SplitFiles:
    """What to download for `split` of `config`, given the names of the repo's files."""
    assert_safe_card(card, where=where)
    config = choose_config(card, config, where=where)
    if len(names) > Limits.max_files:
        got = f"{len(names):,} files"
        told = f"The repo has more than {Limits.max_files:,} files."
        do = "Pack the rows into fewer files, as parquet; or ask the repo's owner to."
        raise DataError(told, where=where, got=got, do=do)
    wanted, archives = split_names(split, where=where), held_back(names)
    with tempfile.TemporaryDirectory(prefix="hub-trainer-names-") as scratch:
        folder = Path(scratch).resolve()
        _touch(folder, sorted({*names} - {*archives}))
        write_card(folder, only_config(card, config))
        try:
            with open_builder(folder, where=where) as builder:
                reader, files = reader_of(builder, where=where), files_of(builder, folder)
            assert_known(wanted, list(files), "split", where=where)
        except DataError as error:
            if archives:
                raise refusal(archives, where=where) from None
            raise _with_names(error, names) from None
    chosen = {name: tuple(files[name]) for name in wanted}
    _assert_one_kind(chosen, reader, where)
    notes = (*_left_aside(names, files, chosen, reader), *_never_read(names, chosen))
    return SplitFiles(config, reader, chosen, only_config(card, config, chosen), notes)


def _left_aside(
    names: Sequence[str],
    files: Mapping[str, Sequence[str]],
    chosen: Mapping[str, Sequence[str]],
    reader: str,
) -> Iterator[str]:
    """Files of rows beside those of a split that a reader of another kind would have to read."""
    read = {path for paths in files.values() for path in paths}
    for split, paths in chosen.items():
        folders = {str(PurePosixPath(path).parent) for path in paths}
        other = [
            name
            for name in names
            if name.lower().endswith(ROW_SUFFIXES)
            and name not in read
            and str(PurePosixPath(name).parent) in folders
            and split in PurePosixPath(name).name
        ]
        suffixes = {PurePosixPath(path).suffix.lower() for path in paths}
        alike = [name for name in other if PurePosixPath(name).suffix.lower() in suffixes]
        if alike:
            yield (
                f"the card's data_files of the split {split} do not take up {', '.join(alike[:3])}:"
                " it is left aside"
            )
        apart = [name for name in other if name not in alike]
        if apart:
            yield (
                f"the split {split} has files of several kinds: {', '.join(apart[:3])} are left "
                f"aside, and only files for the reader {reader} are read"
            )


def _with_names(error: DataError, names: Sequence[str]) -> DataError:
    """The error; where no file is of a kind that is read, with the files that there are."""
    if "DataFilesNotFound" not in str(error.got) and "EmptyDataset" not in str(error.got):
        return error
    data = [name for name in names if PurePosixPath(name).name not in (*IGNORED_NAMES, SETTINGS)]
    error.got = f"{', '.join(data[:5]) or 'no files'}" + (
        f" and {len(data) - 5} more" if len(data) > 5 else ""
    )
    error.do = (
        "Write the rows as parquet, csv, jsonl or txt, or pictures or sounds in folders by label."
    )
    capitals = [name for name in data if name.lower().endswith(ROW_SUFFIXES)]
    if capitals:
        suffix = PurePosixPath(capitals[0]).suffix
        error.do = f"Write the ending in small letters, as {suffix.lower()} for {suffix}."
    return error


def _never_read(names: Sequence[str], chosen: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Archives, and media of other kinds, in the folders from which a split is read."""
    folders = {str(PurePosixPath(path).parent) for paths in chosen.values() for path in paths}
    near = [name for name in names if str(PurePosixPath(name).parent) in folders]
    for found, what in (
        (held_back(near), "archives and sheets are not read"),
        *(
            ([name for name in near if name.lower().endswith(one.unread)],
             f"{one.plural} are read as {one.formats}")
            for one in MEDIA.values()
        ),
    ):  # fmt: skip
        if found:
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""
            yield f"left aside: {', '.join(found[:3])}{more}; {what}"


def _assert_one_kind(files: Mapping[str, Sequence[str]], reader: str, where: str) -> None:
    """Refuse a file among those of a split that its reader does not read: it would be misread."""
    for split, paths in files.items():
        other = [path for path in paths if not path.lower().endswith(READ_SUFFIXES[reader])]
        medium = medium_of_reader(reader)
        if other and medium is not None:
            raise DataError(
                f"A split of {medium.plural} holds a file of another kind.",
                where=f"{where}: {other[0]}",
                got=f"{len(other):,} of {len(paths):,} files, ending in "
                f"{', '.join(sorted({PurePosixPath(path).suffix for path in other})[:5])}",
                do=f"Save it as {medium.usual}, or move it out of the folder.",
            )
        if other:
            raise DataError(
                "The files of a split are of several kinds.",
                where=f"{where}: {other[0]}",
                got=f"{len(paths)} files, most of them for the reader {reader}",
                do="Name the files to read in the card, as in configs: [{config_name: default, "
                f"data_files: [{{split: {split}, path: {split}-*{READ_SUFFIXES[reader][0]}}}]}}].",
            )


def choose_config(card: Mapping[str, Any], config: str | None, *, where: str) -> str:
    """The config to read: the one that is named, the only one, or the default one."""
    configs = card_configs(card)
    known = list(configs) or ["default"]
    if config is not None:
        assert_known([config], known, "config", where=where)
        return config
    marked = [name for name, entry in configs.items() if entry.get("default")]
    if len(known) == 1 or marked or "default" in known:
        return known[0] if len(known) == 1 else (marked or ["default"])[0]
    raise DataError(
        "The dataset has several configs and none is the default.",
        where=where,
        got=f"configs {', '.join(known)}",
        do=f"Name one in the recipe, as in config: {known[0]}.",
    )


def assert_known(wanted: Sequence[str], known: Sequence[str], what: str, *, where: str) -> None:
    """Raise DataError for a config or split that the dataset does not have."""
    missing = [name for name in wanted if name not in known]
    if missing:
        raise DataError(
            f"The dataset has no {what} {missing[0]!r}.",
            where=where,
            got=f"{what}s {', '.join(known) or '(none)'}",
            do=f"Set {what}: to one of these.{nearest(missing[0], known)}",
        )


def only_config(
    card: Mapping[str, Any], config: str, files: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Any]:
    """A card that says what the reader needs of one config, and nothing else.

    With `files` its data files are cut down to those splits; patterns stay patterns.
    """
    entry = card_configs(card).get(config)
    kept: dict[str, Any] = {}
    if entry is not None:
        entry = {key: value for key, value in entry.items() if key in READER_SETTINGS}
        entry["config_name"] = config
        if files is not None:
            entry["data_files"] = _narrowed(entry.get("data_files"), files)
        if entry.get("data_files") is None:
            entry.pop("data_files", None)
        kept["configs"] = [entry]
    features = card_features(card, config)
    if features is not None:
        kept["dataset_info"] = {"config_name": config, "features": features}
    return kept


def _narrowed(data_files: Any, files: Mapping[str, Sequence[str]]) -> Any:
    if isinstance(data_files, list) and all(isinstance(entry, dict) for entry in data_files):
        return [entry for entry in data_files if str(entry.get("split")) in files]
    return data_files


@contextmanager
def open_builder(folder: Path, *, where: str, config: str | None = None) -> Iterator[Any]:
    """The builder that `datasets` chooses for a vetted folder; it has read names, not contents."""
    import datasets

    with (
        tempfile.TemporaryDirectory(prefix="hub-trainer-cache-") as cache,
        quiet(),
        _torch_left_out(),
    ):
        try:
            builder = datasets.load_dataset_builder(str(folder), name=config, cache_dir=cache)
        except (FileNotFoundError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise DataError(
                "The dataset's files cannot be told apart.",
                where=where,
                got=first_line(error, folder),
                do="Check the card's configs; files are parquet, csv, jsonl, txt, or folders of "
                "pictures or sounds.",
            ) from error
        yield builder


@contextmanager
def _torch_left_out() -> Iterator[None]:
    """No import of torch by `datasets`, which takes seconds: its streams would be torch's too."""
    import datasets

    before = datasets.config.TORCH_AVAILABLE
    datasets.config.TORCH_AVAILABLE = False
    try:
        yield
    finally:
        datasets.config.TORCH_AVAILABLE = before


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no log lines of `datasets`: errors are raised and say it all."""
    import datasets

    bars = datasets.are_progress_bars_disabled()
    level = datasets.utils.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.utils.logging.set_verbosity(datasets.utils.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.utils.logging.set_verbosity(level)
        if not bars:
            datasets.enable_progress_bars()


def reader_of(builder: Any, *, where: str) -> str:
    """The kind of reader; DataError unless it only parses."""
    reader = type(builder).__module__.rsplit(".", 1)[-1]
    if reader not in READERS:
        raise DataError(
            f"Files for the reader {reader!r} are not read.",
            where=where,
            got=", ".join(sorted(_suffixes(builder))),
            do="Use parquet, csv, jsonl, txt, or files of pictures or sounds."
            + (
                " In Python: load_from_disk(FOLDER).push_to_hub(REPO)." if reader == "arrow" else ""
            ),
        )
    return reader


def files_of(builder: Any, folder: Path) -> dict[str, list[str]]:
    """Split -> the builder's files as paths from `folder`; none of them lies outside."""
    found: dict[str, list[str]] = {}
    for split, paths in (builder.config.data_files or {}).items():
        inside = [Path(path) for path in paths]
        for path in inside:
            if "://" in str(path) or not path.resolve().is_relative_to(folder):
                do = "Correct data_files in the dataset's card, or ask its owner to."
                raise DataError("A data file lies outside the repo.", got=str(path), do=do)
        found[str(split)] = [path.relative_to(folder).as_posix() for path in inside]
    return found


def first_line(error: BaseException, folder: Path | str = "\0") -> str:
    """The first line of an exception, without this machine's paths."""
    lines = str(error).strip().splitlines() or [""]
    text = lines[0].replace(f"{folder}/", "").replace(str(folder), "the folder")
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__


def _first_of(paths: Sequence[str], reader: str) -> tuple[str, ...]:
    """One file to look at. Media: one per folder, which is their label, or all of a list."""
    medium = medium_of_reader(reader)
    if medium is None:
        return tuple(paths[:1])
    if not all(path.lower().endswith(medium.suffixes) for path in paths):
        return tuple(paths)
    firsts = {str(PurePosixPath(path).parent): path for path in reversed(paths)}
    return tuple(sorted(firsts.values()))


def _suffixes(builder: Any) -> set[str]:
    data_files = builder.config.data_files or {}
    return {PurePosixPath(str(path)).suffix for paths in data_files.values() for path in paths}


def _touch(folder: Path, names: Sequence[str]) -> None:
    """Empty files of these names; names that no reader looks at are left out."""
    for name in names:
        if PurePosixPath(name).name in IGNORED_NAMES or unsafe_path(name):
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
