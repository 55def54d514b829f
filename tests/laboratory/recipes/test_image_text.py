"""What generated report phrases promise."""

import pytest
import torch

from bundle.laboratory.recipes.image_text import FINDINGS, draw_report, vocabulary, words_of

HEALTHY = {name: list(wordings)[-1] for name, wordings in FINDINGS.items()}


def _reports(findings, count=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [draw_report(findings, generator) for _ in range(count)]


def test_the_same_seed_dictates_the_same_report():
    assert _reports(HEALTHY, seed=3) == _reports(HEALTHY, seed=3)
    assert _reports(HEALTHY, seed=3) != _reports(HEALTHY, seed=4)


def test_reports_mention_every_finding_sooner_or_later():
    mentioned = {statement.finding for report in _reports(HEALTHY) for statement in report}
    assert mentioned == set(FINDINGS)


def test_a_report_says_only_what_is_true():
    findings = HEALTHY | {"residue": "present"}
    for report in _reports(findings):
        for statement in report:
            assert statement.value == findings[statement.finding]
            assert statement.sentence in FINDINGS[statement.finding][statement.value]


def test_no_sentence_words_two_different_findings():
    sentences = [s for wordings in FINDINGS.values() for variants in wordings.values() for s in variants]
    assert len(sentences) == len(set(sentences))


def test_denial_is_told_from_presence():
    assert "no residue" in words_of("no residue")
    assert set(words_of("No residue, seen")) <= {"no", "residue", "seen", "no residue", "residue seen"}


def test_the_vocabulary_holds_every_word_of_every_sentence():
    known = set(vocabulary())
    assert all(set(words_of(s)) <= known for w in FINDINGS.values() for variants in w.values() for s in variants)


def test_a_finding_without_wording_is_refused():
    with pytest.raises(ValueError, match=r"finding 'phase' must be one of \['oesophageal', .*got 'dreaming'"):
        draw_report(HEALTHY | {"phase": "dreaming"}, torch.Generator())
