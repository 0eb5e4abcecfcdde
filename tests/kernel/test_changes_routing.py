"""The rule of thirds on labelled updates, and at its edges."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mnemos.base.errors import Invalid
from mnemos.bench.evaluation.updates import labelled_updates
from mnemos.kernel.changes.routing import BROAD_DOCUMENTS, FEW_FACTS, METHODS, Path, Profile, Scope, profile, route

CODES = {
    "S1": {"time-sensitive", "disputed", "stable-and-undisputed"},
    "S2": {"few-facts", "broad", "neither-few-nor-broad"},
    "S3": {"scoped", "no-entity-scope", "unclear-subject"},
}
NORA = Scope(entities=("Nora",))


def test_300_labelled_updates_go_where_they_belong_each_with_its_reasons() -> None:
    updates = labelled_updates(np.random.default_rng(0))
    assert len(updates) == 300
    right = 0
    for update in updates:
        chosen = route(profile(update.records, known=update.known))
        right += chosen.path is update.path
        assert chosen.reasons
        assert all(reason.code in CODES[reason.step] for reason in chosen.reasons)
        assert json.loads(json.dumps(chosen.as_json()))["path"] == chosen.path
        assert chosen.methods == METHODS[chosen.path]
    assert right / len(updates) >= 0.95


@pytest.mark.parametrize(
    ("seen", "path", "code"),
    [
        (Profile(1, 1, 5, volatile=("wording",), scope=NORA), Path.EXTERNAL, "S1:time-sensitive"),
        (Profile(1, 1, 5, disputed=("wording",), scope=NORA), Path.EXTERNAL, "S1:disputed"),
        (Profile(1, 1, 5, scope=NORA), Path.EDIT, "S3:scoped"),
        (Profile(1, 1, 5, scope=Scope(event="e1")), Path.EDIT, "S3:scoped"),
        (Profile(1, 1, 5), Path.EXTERNAL, "S3:no-entity-scope"),
        (Profile(1, 1, 5, unclear=1, scope=NORA), Path.EXTERNAL, "S3:unclear-subject"),
        (Profile(FEW_FACTS, 1, 500, scope=NORA), Path.EDIT, "S3:scoped"),
        (Profile(FEW_FACTS + 1, 1, 500, scope=NORA), Path.EXTERNAL, "S2:neither-few-nor-broad"),
        (Profile(5000, BROAD_DOCUMENTS, 9000), Path.ADAPTER, "S2:broad"),
        (Profile(5000, BROAD_DOCUMENTS, 9000, volatile=("wording",)), Path.EXTERNAL, "S1:time-sensitive"),
    ],
)
def test_the_rule_at_its_edges(seen: Profile, path: Path, code: str) -> None:
    chosen = route(seen)
    assert chosen.path is path
    assert code in {f"{reason.step}:{reason.code}" for reason in chosen.reasons}


def test_a_profile_reads_scope_and_contradictions() -> None:
    seen = profile(
        [{"text": "Nora lives in Porto. She plays the cello.", "valid_from": "2024-01-01", "entities": ["Nora"]}],
        known=[{"text": "Nora lives in Lisbon."}],
        event="e7",
    )
    assert (seen.facts, seen.documents, seen.unclear) == (2, 1, 1)
    assert seen.disputed == ("contradicts what is known",)
    assert seen.scope == Scope(1704067200000000, None, ("Nora",), "e7")
    assert profile([{"text": "Nora lives in Porto."}], known=[{"text": "Nora lives in Porto!"}]).disputed == ()
    rows = ["The river is 40 miles long.", "The river is old.", "The river is cold in May.", "The river is 50 miles long."]
    assert profile([{"text": text} for text in rows[:3]]).disputed == ()
    assert profile([{"text": text} for text in rows]).disputed == ("contradicts itself",)
    assert profile([{"text": "The tower is 40 metres high.", "expires_at": "2030-01-01"}]).volatile == ("validity ends",)
    with pytest.raises(Invalid):
        profile([])


def test_one_word_of_time_does_not_make_a_library_volatile() -> None:
    library = [{"text": f"Board {i} of oak is planed along the grain. " * 10} for i in range(80)]
    library[3]["text"] += "Now it is ready."
    assert route(profile(library)).path is Path.ADAPTER
    news = [{"text": f"As of today bridge {i} is closed."} for i in range(80)]
    assert route(profile(news)).path is Path.EXTERNAL


def test_what_goes_into_the_ledger_holds_no_text() -> None:
    seen = profile([{"text": "Allegedly Nora currently hides the sapphire in the cellar.", "valid_to": "2024-05-05"}])
    assert "sapphire" not in str(seen)
    assert "sapphire" not in str(route(seen).as_json())
