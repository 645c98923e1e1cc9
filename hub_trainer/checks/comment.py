"""The one comment that review leaves under a pull request; every foreign string is made inert."""

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from posixpath import commonpath

from hub_trainer.checks.quoting import visible
from hub_trainer.checks.verdict import Check, Verdict, VerdictName

MARKER = "hub-trainer-review"
MAX_DETAIL = 600
HEADLINES = {
    "merge": "Merged.",
    "refuse": "Not merged yet. To be mended first: {}.",
    "human": "Not merged yet. A person has to look at: {}.",
}
ACCEPTED = "Merged by a person, who has looked at: {}."
CLOSED = "Closed: this is not a contribution of rows."
ADVICE = {
    "label quality": "Look at the labels of the rows named, and correct or drop them.",
    "answers to their prompts": "Look whether the answers named are to their own prompts.",
    "labels one by one": "Look at the labels of the rows named, and correct or drop them.",
    "test leakage": "Drop rows that were taken from the test set; new ones must be your own.",
    "duplicates": "Drop the rows that are there already.",
    "new rows": "Send rows that the dataset does not have.",
    "secrets": "Take the secrets out, and revoke them: what was pushed once must count as known.",
    "personal data": "Take out what names or reaches a person.",
    "hidden text": "Take out hidden characters and active HTML.",
    "ranges": "Check units, codes for missing values and the spelling of categories.",
    "triggers": "Say in a comment why these rows share it, or drop them.",
    "known labels": "Use the dataset's labels, or ask its owner to add the new ones.",
    "label spread": "Say in a comment why the labels are spread so.",
    "whole rows": "Fill in or drop the rows that are empty or broken.",
    "rows": "Split the rows into several pull requests.",
    "contributor": "Wait until others have brought rows too, or ask the dataset's owner.",
    "conversion": "Use the dataset's columns and labels: --column NAME=YOURS names a column. Take "
    "files that hold no such rows out of the pull request.",
    "columns": "Use the dataset's columns.",
    "file types": "Remove these files from the pull request.",
    "file names": "Rename these files.",
    "size": "Split the files into several pull requests.",
    "existing files": "Only add files; changes to those that are there are for the owner to make.",
    "placement": "Name the files so that they join the split for training.",
    "earlier review": "Wait until the dataset's owner has looked at these rows.",
    "readable": "Write the file again: UTF-8, one row per line, and the same columns in each.",
}
"""Check -> what its contributor can do."""
_OPENING = re.compile(r"\*\*Review: (\w+)\.\*\*")
"""How the comment begins."""
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,199}")
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
DATA_SUFFIXES = r"(?:csv|tsv|jsonl?|parquet|xlsx?|txt|ya?ml|png|jpe?g|wav|flac|mp3)\b"
_SIGNS = re.compile(r"([\\`*_\[\]|~#!&<>])")
_ADDRESSES = (
    (re.compile(r"(?i)www(?=\.|$)"), r"[\g<0>]"),  # a full stop may follow the end
    (re.compile(r":(?=//)"), "[:]"),
    # A host without www, which some readers link too; names of data files are none.
    (re.compile(rf"(?i)(?<=\w)(?<!readme)\.(?=[^\W\d_])(?!{DATA_SUFFIXES})"), "[.]"),
)


def render_comment(verdict: Verdict, *, dataset_id: str) -> str:
    """Markdown: the verdict and its reasons, what mends it, what passed folded, and the commit."""
    failed = [check for check in verdict.checks if not check.passed]
    passed = [check for check in verdict.checks if check.passed]
    parts = [_headline(verdict), _reasons(failed), _mending(verdict, failed, dataset_id)]
    told = [(inert(check.name), inert(check.detail)) for check in passed]
    table = _table([("check", "what was found"), *told])
    parts += [_folded(f"{len(passed)} checks passed", "\n".join(table))] if passed else []
    parts += [_folded("What was reviewed", _reviewed(verdict, dataset_id)), marker_of(verdict.sha)]
    return "\n\n".join(part for part in parts if part)


def _headline(verdict: Verdict) -> str:
    says = CLOSED if verdict.closes else HEADLINES[verdict.verdict]
    decided: VerdictName = "human" if verdict.accepted else verdict.verdict
    says = ACCEPTED if verdict.accepted else says
    deciding = [check.name for check in verdict.checks if check.outcome == decided]
    says = says.format(inert(", ".join(deciding)))
    kept = verdict.rows - verdict.left_out
    rows = f"these {verdict.rows:,} rows" if verdict.rows else "this pull request"
    rows = "this row" if verdict.rows == 1 else rows
    lines = [f"**Review: {verdict.verdict}.** {says} Thank you for {rows}."]
    if verdict.verdict == "merge" and verdict.left_out:
        lines.append(
            f"{kept:,} of them were added; {verdict.left_out:,} "
            f"{'repeats a row that is' if verdict.left_out == 1 else 'repeat rows that are'} there "
            "already or sealed for the test, and "
            f"{'was' if verdict.left_out == 1 else 'were'} left out."
        )
    if verdict.verdict == "merge" and verdict.made:
        lines.append("They were written in the dataset's own schema, exactly as they were checked.")
    return " ".join(lines)


def _reasons(failed: Sequence[Check]) -> str:
    """A line for each check that did not pass: what follows from it, and what was found."""
    return "\n".join(
        f"- {check.outcome}, **{inert(check.name)}**: {inert(check.detail)}."
        + (f" {check.numbers.capitalize()}." if check.rows else "")
        for check in sorted(failed, key=lambda check: check.outcome != "refuse")
    )


def _mending(verdict: Verdict, failed: Sequence[Check], dataset_id: str) -> str:
    """What the contributor can do now; nothing of it for what is merged or closed."""
    if not failed or verdict.closes or verdict.verdict == "merge":
        return ""
    advice = dict.fromkeys(ADVICE[check.name] for check in failed if check.name in ADVICE)
    open_still = "This pull request stays open. Put the mended rows in the place of the old ones:"
    what = "FOLDER" if len(verdict.files) > 1 else "FILE"
    mend = f"hub-trainer contribute {dataset_id} {what} --pr {int(verdict.number)}"
    plainly = "or, laid out and written as the dataset is, and with nothing of ours installed:"
    target = f"{dataset_id} {_in_place(verdict.files)} --repo-type dataset"
    push = f"hf upload {target} --revision refs/pr/{int(verdict.number)}"
    again = "Then it is reviewed again. To see beforehand what a review says of a file:"
    counted = any(check.rows for check in failed)
    how = "Rows are counted from 1, over the added files in the order of their paths."
    command = f"hub-trainer contribute {dataset_id} {what} --dry-run"
    lines = [f"- {line}" for line in advice]
    told = [*(["What mends it:", "", *lines] if lines else []), *(["", how] if counted else [])]
    ways = [open_still, "", f"    {mend}", "", plainly, "", f"    {push}", "", again]
    return "\n".join([*told, "", *ways, "", f"    {command}", *_accepting(verdict, dataset_id)])


def accept_command(verdict: Verdict, dataset_id: str) -> str | None:
    """What has a person's word merge it at this commit; None where none can."""
    if not verdict.can_be_accepted:
        return None
    return f"hub-trainer review {dataset_id} --pr {int(verdict.number)} --accept {verdict.sha[:7]}"


def _accepting(verdict: Verdict, dataset_id: str) -> list[str]:
    command = accept_command(verdict, dataset_id)
    who = "Who may write to the dataset can accept it as it is, at the commit that was reviewed:"
    return ["", who, "", f"    {command}"] if command else []


def _in_place(files: Sequence[str]) -> str:
    """A file and its path in the repo, as a command names them; a stranger's odd name is not.

    Of several files the folder that they lie in.
    """
    if len(files) > 1:
        above = {str(PurePosixPath(path).parent) for path in files}
        shared = commonpath(above) if all(map(_PLAIN_PATH.fullmatch, above - {"."})) else ""
        return f"FOLDER {'.' if shared in ('', '.') else shared}"
    if len(files) == 1 and _PLAIN_PATH.fullmatch(files[0]):
        return f"FILE{PurePosixPath(files[0]).suffix} {files[0]}"
    return "FILE ITS_PATH_IN_THE_REPO"


def _folded(summary: str, body: str) -> str:
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def _reviewed(verdict: Verdict, dataset_id: str) -> str:
    return "\n".join(
        [
            f"Commit `{_hex(verdict.sha)}`, against main at `{_hex(verdict.base_sha)}`. "
            "A later push is not covered and is reviewed anew. To repeat it:",
            "",
            f"    hub-trainer review {dataset_id} --pr {int(verdict.number)}",
        ]
    )


def marker_of(sha: str) -> str:
    """A hidden line by which a comment about this commit is found again."""
    return f"<!-- {MARKER} {_hex(sha)} -->"


def has_comment(comments: Iterable[tuple[str, str]], sha: str, *, author: str) -> bool:
    """Whether `author` has commented on this commit already; a stranger's marker does not count."""
    return any(name == author and marker_of(sha) in text for name, text in comments)


def verdict_told(comments: Iterable[tuple[str, str]], sha: str, *, author: str) -> str | None:
    """The verdict on this commit in `author`'s own comment; None where there is none."""
    mark = marker_of(sha)
    told = [_OPENING.match(text) for name, text in comments if name == author and mark in text]
    return next((found[1] for found in told if found), None)


def inert(text: str, limit: int = MAX_DETAIL) -> str:
    """Text that Markdown shows as text: no mention, link, HTML, cell, new line or hidden sign.

    Addresses and mentions are broken by spelling (`http[:]//`, `[at]`), as some readers look for
    them after escapes were undone; other signs are escaped.
    """
    plain = visible(text)
    short = plain if len(plain) <= limit else plain[: limit - 1] + "…"
    for pattern, spelling in _ADDRESSES:
        short = pattern.sub(spelling, short)
    broken = short.replace("@", "[at]").replace("＠", "[at]")
    return _SIGNS.sub(lambda found: _HTML.get(found[0], "\\" + found[0]), broken)


def _hex(sha: str) -> str:
    return re.sub(r"[^0-9a-f]", "", sha.lower())[:64]


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return [lines[0], ruler, *lines[1:]]
