import time
from pathlib import Path

import pytest

from hub_trainer.privacy import SECRET_KINDS, find_personal_data, scan_text

PRESIDIO = Path(__file__).parents[2] / "shared" / "data" / "dirty-pii-presidio-v2"
KINDS = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IBAN_CODE": "iban",
    "CREDIT_CARD": "card number",
    "IP_ADDRESS": "ip address",
    "US_SSN": "us ssn",
}
FLOORS = {
    "email": (1.0, 1.0),
    "phone": (0.95, 0.79),
    "iban": (1.0, 1.0),
    "card number": (1.0, 0.99),
    "ip address": (1.0, 1.0),
    "us ssn": (1.0, 1.0),
}
"""Precision and recall, as measured."""


def kinds_in(text: str) -> list[str]:
    return [finding.kind for finding in scan_text(text)]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to ada.lovelace+x@mail.example.org.", "email"),
        ("call +44 20 7946 0958 now", "phone"),
        ("call (020) 7946 0958", "phone"),
        ("call 541-754-3010", "phone"),
        ("call 541.754.3010 x12", "phone"),
        ("IBAN DE89 3704 0044 0532 0130 00", "iban"),
        ("pay GB82WEST12345698765432", "iban"),
        ("card 4111 1111 1111 1111", "card number"),
        ("card 5500-0055-5555-5559", "card number"),
        ("from 203.0.113.7, today", "ip address"),
        ("from 2001:db8:85a3::8a2e:370:7334", "ip address"),
        ("ssn 123-45-6789", "us ssn"),
        ("export HF_TOKEN=hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345", "hub token"),
        ("key AKIAIOSFODNN7EXAMPLE", "api key"),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", "api key"),
        ("sk-proj-abc123DEF456ghi789JKL0", "api key"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE", "private key"),
        ("postgres://user:s3cret@db.example.org/x", "password in address"),
    ],
)
def test_text_when_it_holds_one_kind_then_finds_exactly_it(text: str, kind: str) -> None:
    assert kinds_in(text) == [kind]


@pytest.mark.parametrize(
    "text",
    [
        "born 1977-04-13, moved on 12.05.2001, worked 1998-2004",
        "version 1.2.3 and 10.0.19041",
        "it is 12:30:45 now",
        "card 4111 1111 1111 1112",
        "IBAN DE89 3704 0044 0532 0130 01",
        "localhost is 127.0.0.1 and ::1",
        "not 999.1.1.1 nor 1.2.3.4.5",
        "C++ std::vector<int>::iterator",
        "order 1234567890, row 17151 2450",
        "hf_transfer_enabled_by_default_everywhere",
        "see https://example.org/a:b@c",
        "a@b, @handle, me@localhost",
        "000000000 and 111-1111-1111",
        "pi is 3.14159265358979",
    ],
)
def test_text_when_it_only_looks_alike_then_finds_nothing(text: str) -> None:
    assert kinds_in(text) == []


def test_text_when_kinds_overlap_then_the_more_certain_one_stays() -> None:
    assert kinds_in("password in ftp://a:hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345@h") == ["hub token"]
    assert kinds_in("mail a@b.example and call +49 30 901820") == ["email", "phone"]


def test_rows_when_scanned_then_gives_counts_and_places_but_no_text() -> None:
    rows = [
        {"text": "a@b.example and c@d.example", "label": "x", "_source": "me@org.example"},
        {"text": "nothing", "label": "x"},
        {"text": "a@b.example", "note": "203.0.113.7", "age": 7, "image": b"a@b.example"},
    ]
    found = find_personal_data(rows)
    assert found.counts == {"email": 2, "ip address": 1}
    assert found.rows == {"email": (0, 2), "ip address": (2,)}
    assert found.num_rows == 2
    assert "example" not in repr(found)


def test_secret_kinds_when_named_then_the_patterns_have_them() -> None:
    texts = ["hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345", "AKIAIOSFODNN7EXAMPLE", "ftp://a:b@c"]
    texts += ["-----BEGIN PRIVATE KEY-----"]
    assert {kind for text in texts for kind in kinds_in(text)} == SECRET_KINDS


@pytest.mark.parametrize(
    "text",
    ["a" * 10**6, "1 " * 10**5, "1.1." * 10**5, "a.a@" * 10**5, "a:" * 10**5, "-" * 10**6]
    + ["AB12" + "a" * 10**6, "(0" * 10**5, "x://" * 10**5, "eyJ" * 10**5, "+1 " * 10**5],
)
def test_text_when_hostile_then_the_patterns_do_not_run_away(text: str) -> None:
    started = time.process_time()
    scan_text(text)
    assert time.process_time() - started < 5


@pytest.mark.skipif(not PRESIDIO.is_dir(), reason="the labelled sentences lie elsewhere")
def test_kinds_when_measured_on_labelled_sentences_then_hold_their_figures() -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(PRESIDIO / "data").to_pylist()
    assert len(rows) == 1_500
    hits, found, wanted = (dict.fromkeys(FLOORS, 0) for _ in range(3))
    for row in rows:
        truth = [
            (KINDS[s["entity_type"]], s["start"], s["end"])
            for s in row["spans"]
            if s["entity_type"] in KINDS
        ]
        guessed = [(f.kind, f.start, f.end) for f in scan_text(row["text"]) if f.kind in FLOORS]
        for kind, start, end in truth:
            wanted[kind] += 1
            hits[kind] += any(k == kind and s < end and e > start for k, s, e in guessed)
        for kind, start, end in guessed:
            found[kind] += not any(k == kind and s < end and e > start for k, s, e in truth)
    for kind, (precision, recall) in FLOORS.items():
        assert hits[kind] / (hits[kind] + found[kind]) >= precision, kind
        assert hits[kind] / wanted[kind] >= recall, kind
