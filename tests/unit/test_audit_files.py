"""An export and a head can be checked by whoever holds the file, and every change of either shows."""

import random
from dataclasses import replace

import pytest

from monitor.errors import BadInput
from monitor.governance import GENESIS, Evidence, chain
from monitor.governance.audit_chain import Head, Link, as_stored, check_links
from monitor.governance.audit_export import csv_lines, export_lines, harmless, verify_export
from monitor.governance.audit_heads import (
    new_key,
    private_pem,
    public_pem,
    read_head,
    read_private,
    read_public,
    sign,
)
from monitor.performance.verdict import Verdict

AT = "2026-03-01T00:00:00+00:00"


def trail(count: int, *, first: int = 1, step: int = 2, seed: int = 0) -> list[Link]:
    """Entries numbered with holes, as a database that rolled some back numbers them."""
    made, previous = [], GENESIS
    for place in range(count):
        entry = {
            "at": AT,
            "actor": "ann",
            "action": "a",
            "subject": f"s:{place}",
            "model": None,
            "details": {"n": seed},
        }
        made.append(Link(number=first + step * place, entry=entry, previous_hash=previous, hash=chain(previous, entry)))
        previous = made[-1].hash
    return made


def head_of(link: Link) -> Head:
    return Head(number=link.number, hash=link.hash, at=AT)


def test_a_whole_chain_with_its_heads_is_intact():
    links = trail(5)
    found = check_links(links, heads=[head_of(links[1]), head_of(links[4])])
    assert found.sentence == "The audit chain is intact: 5 entries, and all 2 signed heads are in it."
    assert "a cut tail shows against one only" in check_links(links).sentence


def test_a_cut_tail_and_an_emptied_trail_show_against_a_head():
    links = trail(5)
    found = check_links(links[:3], heads=[head_of(links[1]), head_of(links[4])])
    assert (found.ok, found.first_bad, "the tail was cut" in found.sentence) == (False, 9, True)
    assert "The chain is empty, but entry #9" in check_links([], heads=[head_of(links[4])]).sentence


def test_a_chain_that_was_rewritten_and_rehashed_fits_itself_but_not_its_head():
    links, forged = trail(5), trail(5, seed=1)
    assert check_links(forged).ok
    found = check_links(forged, heads=[head_of(links[2])])
    assert (found.ok, found.first_bad, "was rewritten" in found.sentence) == (False, 5, True)
    renumbered = trail(5, first=2, seed=1)
    assert "Entry #5 is missing, and was there" in check_links(renumbered, heads=[head_of(links[2])]).sentence


def test_an_altered_a_removed_a_moved_and_a_doubled_entry_are_named():
    links = trail(5)
    altered = replace(links[2], entry={**links[2].entry, "actor": "eve"})
    assert check_links([*links[:2], altered, *links[3:]]).first_bad == 5
    assert check_links([*links[:2], *links[3:]]).first_bad == 7
    assert check_links([links[1], links[0], *links[2:]]).first_bad == 3
    assert not check_links([links[0], links[0]], partial=True).ok
    assert "does not follow" in check_links(links[1:]).sentence
    assert check_links(links[3:], after=head_of(links[2])).ok


def test_a_part_speaks_for_its_entries_alone():
    links = trail(5)
    found = check_links([links[1], links[4]], partial=True, heads=[head_of(links[0])])
    assert (found.ok, "its 2 entries are unaltered" in found.sentence) == (True, True)
    assert not check_links([replace(links[1], entry={})], partial=True).ok


def test_an_export_is_verified_without_a_database():
    lines = list(export_lines(trail(5), at=AT, chosen={}))
    assert verify_export(lines).sentence.startswith("The audit chain is intact: 5 entries")
    assert verify_export(export_lines([], at=AT, chosen={})).ok
    part = list(export_lines(trail(5)[2:4], at=AT, chosen={"model": "fraud"}))
    assert verify_export(part).sentence.startswith("This is a part of the trail: its 2 entries")


def test_an_export_with_a_cut_tail_is_found_by_a_head_although_it_counts_right():
    links = trail(5)
    lines = list(export_lines(links[:3], at=AT, chosen={}))
    assert verify_export(lines).ok
    assert "the tail was cut" in verify_export(lines, heads=[head_of(links[4])]).sentence


def test_every_changed_byte_of_an_export_is_found():
    text = "".join(export_lines(trail(4), at=AT, chosen={}))
    rng = random.Random(1)
    for _ in range(400):
        place = rng.randrange(len(text))
        wrong = text[:place] + rng.choice([c for c in 'ab01 "\n{},:' if c != text[place]]) + text[place + 1 :]
        try:
            found = verify_export(wrong.splitlines(keepends=True))
        except BadInput:
            continue
        assert not found.ok, (place, wrong[place - 20 : place + 20])


def test_an_export_that_ends_early_or_goes_on_too_long_says_so():
    lines = list(export_lines(trail(4), at=AT, chosen={}))
    assert "ends early" in verify_export(lines[:-1]).sentence
    assert "added after its last line" in verify_export([*lines, lines[1]]).sentence
    assert "line 3 is not as it was written" in verify_export([*lines[:2], "{}\n", *lines[3:]]).sentence
    assert "last line does not fit" in verify_export([*lines[:4], lines[5]]).sentence
    for other in ("", "number,at\n", '{"holdfast_audit":9,"partial":false}\n', "[" * 100_000):
        with pytest.raises(BadInput):
            verify_export([other])


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "'=1"])
def test_a_cell_that_a_spreadsheet_would_compute_is_shown_instead(cell: str):
    assert harmless(cell) == f"'{cell}"


def test_the_csv_holds_no_formula_whatever_a_name_or_a_reason_says():
    entry = {
        "at": AT,
        "actor": "=cmd|' /C calc'!A0",
        "action": "a",
        "subject": "+s",
        "model": "@m",
        "details": {"r": "=1"},
    }
    (_, row) = csv_lines([Link(number=1, entry=entry, previous_hash=GENESIS, hash=chain(GENESIS, entry))])
    assert [cell for cell in row.split(",") if cell.lstrip('"')[:1] in tuple("=+-@")] == []


def test_a_head_is_good_only_with_its_own_signature_and_key():
    key, other = new_key(), new_key()
    line = sign(head_of(trail(1)[0]), key).to_line()
    assert read_head(line, key.public_key(), where="line 1") == head_of(trail(1)[0])
    with pytest.raises(BadInput, match="is signed by key"):
        read_head(line, other.public_key(), where="line 1")
    for wrong in (line.replace('"number":1', '"number":2'), line.replace(AT, AT.replace("2026", "2027"))):
        with pytest.raises(BadInput, match="was altered"):
            read_head(wrong, key.public_key(), where="line 1")
    for wrong in ("", "{}", "[]", line[:-9]):
        with pytest.raises(BadInput, match="expected a signed head in line 7"):
            read_head(wrong, key.public_key(), where="line 7")


def test_keys_survive_their_files_and_other_files_are_refused():
    key = new_key()
    again = read_private(private_pem(key))
    assert read_public(public_pem(key.public_key())) == again.public_key()
    for read in (read_private, read_public):
        with pytest.raises(BadInput, match="expected an Ed25519"):
            read(b"-----BEGIN NONSENSE-----\n")


def test_evidence_has_the_same_hash_before_and_after_it_was_stored():
    evidence = Evidence(verdict=Verdict.FRAGILE, sentence="s", findings=[{"e_value": 2.4195e38, "effect": -0.0}])
    assert evidence.to_document() == as_stored(evidence.to_document())
    assert evidence.to_document()["findings"] == [{"e_value": int(2.4195e38), "effect": 0.0}]
