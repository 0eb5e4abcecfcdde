"""The parts that comparing is made of: D, contradiction, clusters, echoes, witnesses, votes."""

from __future__ import annotations

import numpy as np
import pytest
from guard_support import deed, fact
from hypothesis import given
from hypothesis import strategies as st

from mnemos.base.errors import Invalid
from mnemos.kernel.guard import Candidate, Settings, ToolCall
from mnemos.kernel.guard.actions import of_call
from mnemos.kernel.guard.claims import components, conclusions
from mnemos.kernel.guard.clustering import NOISE, dbscan, outside_largest
from mnemos.kernel.guard.divergence import compared, contradict, divergences
from mnemos.kernel.guard.echo import claim_of, echo_groups, echo_strength, echoes, says
from mnemos.kernel.guard.independence import alike, capped, dependence, trust_of, weights
from mnemos.kernel.guard.paths import Path, path_of
from mnemos.kernel.guard.vocabulary import Vocabulary
from mnemos.kernel.guard.voting import Ballot, tally

SENTENCES = ["Alice lives in Lisbon.", "Alice lives in Porto.", "Alice does not live in Lisbon.", "Bob lives in Porto.", "The show has 24 episodes.",
             "The show has 23 episodes.", "The show has twenty episodes.", "The bridge is safe.", "The bridge is unsafe.", "Alice likes tea.",
             "Alice likes coffee.", ""]  # fmt: skip


def paths_of(*texts: str) -> list[Path]:
    return [path_of(Candidate(str(i), text)) for i, text in enumerate(texts)]


def distances(paths: list[Path], groups: list[int] | None = None) -> list[float | None]:
    return divergences(paths, groups or list(range(len(paths))), 3.0, compared(paths))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("Alice lives in Lisbon.", "Alice lives in Porto.", True), ("Alice lives in Lisbon.", "Alice does not live in Lisbon.", True),
        ("Alice lives in Lisbon.", "Bob lives in Porto.", False), ("The show has 24 episodes.", "The show has 23 episodes.", True),
        ("The show has 24 episodes.", "The show has 24 episodes in all.", False), ("The bridge is safe.", "The bridge is unsafe.", True),
        ("Alice likes tea.", "Alice likes coffee.", False), ("Alice lives in Lisbon.", "Alice lives in Lisbon, Portugal.", False),
    ],
)  # fmt: skip
def test_what_contradicts_what(a: str, b: str, expected: bool) -> None:
    first, second = paths_of(a, b)
    assert contradict(first.triples[0], second.triples[0]) is expected
    assert contradict(second.triples[0], first.triples[0]) is expected


def test_d_is_zero_for_the_same_and_one_for_what_nobody_shares() -> None:
    same = paths_of("Alice lives in Lisbon.", "Alice lives in Lisbon.", "Gold melts at 1064 degrees and contains atoms.")
    assert distances(same) == [0.0, 0.0, 1.0]


def test_who_depends_on_a_path_cannot_support_it() -> None:
    paths = [path_of(deed(str(i), tool)) for i, tool in enumerate(["get_vitals", "get_vitals", "wipe_disk", "wipe_disk"])]
    alone, together = distances(paths), distances(paths, [0, 1, 2, 2])
    assert alone[2] is not None
    assert together[2] is not None
    assert alone[2] < 0.5 < together[2]


def test_who_is_struck_off_supports_nobody_and_can_be_measured_all_the_same() -> None:
    paths = [path_of(deed(str(i), tool)) for i, tool in enumerate(["get_vitals", "wipe_disk", "wipe_disk"])]
    standing = divergences(paths, [0, 1, 2], 3.0, compared(paths), {0, 1})
    assert standing[1] is not None
    assert standing[2] is not None
    assert standing[2] < 0.5 < standing[1]


def test_d_needs_something_to_compare() -> None:
    assert distances(paths_of("Alice lives in Lisbon.")) == [None]
    assert distances(paths_of("", "Alice lives in Lisbon.")) == [None, None]


@given(st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=6), st.data())
def test_d_is_a_share_and_does_not_depend_on_the_order(texts: list[str], data: st.DataObject) -> None:
    paths = paths_of(*texts)
    groups = data.draw(st.lists(st.integers(0, 2), min_size=len(texts), max_size=len(texts)))
    found = divergences(paths, groups, 3.0, compared(paths))
    assert all(d is None or 0.0 <= d <= 1.0 + 1e-9 for d in found)
    order = data.draw(st.permutations(range(len(texts))))
    shuffled = divergences([paths[i] for i in order], [groups[i] for i in order], 3.0, compared([paths[i] for i in order]))
    for place, i in enumerate(order):
        assert shuffled[place] == (pytest.approx(found[i]) if found[i] is not None else None)


@given(st.integers(1, 14), st.floats(0.05, 1.2), st.integers(1, 4), st.integers(0, 2**16))
def test_dbscan_fulfils_its_definition(n: int, eps: float, min_samples: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    labels = dbscan(vectors, eps, min_samples)
    unit = vectors.astype(np.float64) / np.linalg.norm(vectors, axis=1, keepdims=True)
    near = 1 - unit @ unit.T <= eps + 1e-9
    core = near.sum(1) >= min_samples
    for i in range(n):
        neighbours = [j for j in range(n) if near[i, j] and core[j]]
        assert bool(labels[i] == NOISE) is (not neighbours)
        if core[i]:  # cores within reach of each other share a cluster
            assert {labels[j] for j in neighbours} == {labels[i]}
        elif neighbours:
            assert labels[i] in {labels[j] for j in neighbours}


def test_the_largest_cluster_is_the_consensus_and_noise_is_not() -> None:
    labels = np.array([0, 0, 0, 1, 1, NOISE])
    assert outside_largest(labels).tolist() == [False, False, False, True, True, True]
    assert outside_largest(np.array([NOISE, NOISE])).all()
    with pytest.raises(Invalid, match="finite matrix"):
        dbscan(np.array([[np.nan, 1.0]], dtype=np.float32))


# ---- claims ---------------------------------------------------------------------------------------------------------

QUESTION = "how many episodes are in Chicago Fire season 4"
ECHOED = ["Chicago Fire released its fourth season with a total of 24 episodes.", "Season 4 of the drama Chicago Fire contains 24 episodes.",
          "In the popular drama Chicago Fire, season 4 totals 24 episodes."]  # fmt: skip


def test_paraphrases_of_one_claim_echo_and_other_passages_do_not() -> None:
    paths = paths_of(*ECHOED, "The Chicago Fire Department was founded in 1858 and has 4,950 members.", "Lisbon is the capital of Portugal.")
    echo = echoes(QUESTION, paths, Vocabulary())
    assert echo[:3, :3][~np.eye(3, dtype=bool)].min() > 3 * echo[:3, 3:].max()
    assert echo_groups(echo, 0.25, 3) == [[0, 1, 2]]
    assert echo_groups(echo, 0.25, 4) == []
    assert claim_of(paths[:3], QUESTION) == paths_of("It was 24.")[0].keys


def test_what_says_the_rare_part_of_a_claim_says_more_of_it_than_what_says_its_usual_words() -> None:
    usual = paths_of(*["North Jersey has beaches."] * 20, "Essex is a county.")
    words = Vocabulary.of(usual)
    claim = paths_of("It lies in North Jersey, in Essex.")[0].keys
    rare, common = paths_of("Roxbury NJ lies in Essex, a vibrant county.", "Princeton is no town in North Jersey.")
    assert len(claim & rare.terms) < len(claim & common.terms)
    assert says(rare, claim, 0.5, words)
    assert not says(common, claim, 0.5, words)
    assert says(common, claim, 0.5, Vocabulary())


@given(st.integers(2, 9), st.integers(0, 2**16))
def test_echo_strength_is_where_a_group_of_that_size_appears(n: int, seed: int) -> None:
    echo = np.random.default_rng(seed).random((n, n))
    echo = np.triu(echo, 1) + np.triu(echo, 1).T
    for size in range(2, n + 1):
        strength = echo_strength(echo, size)
        assert max(map(len, components(echo >= strength))) >= size
        assert max(map(len, components(echo > strength)), default=0) < size
    assert echo_strength(echo, n + 1) == 0.0


def test_conclusions_are_figures_or_a_yes_or_a_no() -> None:
    paths = paths_of("Season 4 of Chicago Fire has 23 episodes.", "Nothing to see.")
    found, nothing = conclusions(QUESTION, paths, Vocabulary())
    assert found is not None
    assert (found.figures, nothing) == ({"23"}, None)
    said = paths_of("Fosamax is a bisphosphonate.", "Fosamax isn't a bisphosphonate.")
    affirmed, denied = conclusions("Is Fosamax a bisphosphonate?", said, Vocabulary())
    assert affirmed is not None
    assert denied is not None
    assert (affirmed.affirms, denied.affirms) == (True, False)


# ---- who is independent of whom --------------------------------------------------------------------------------------


def witnesses(*records: Candidate, near: float = 0.9) -> list[int]:
    settings = Settings()
    return dependence(records, [path_of(r) for r in records], [trust_of(r, settings) for r in records], settings, near)


def test_labels_that_can_be_believed_tell_witnesses_apart_even_where_texts_are_alike() -> None:
    assert witnesses(*(deed(str(i), "get_vitals", text="the same words") for i in range(3))) == [0, 1, 2]
    assert witnesses(*(deed(str(i), "get_vitals", "one session") for i in range(3))) == [0, 0, 0]


def test_labels_of_the_web_cost_nothing_and_tell_nobody_apart() -> None:
    copies = [fact(str(i), "the moon is made of green cheese", origin="web", source=f"site-{i}.example") for i in range(3)]
    assert witnesses(*copies) == [0, 0, 0]
    others = [fact(str(i), text, origin="web", source=f"site-{i}.example") for i, text in enumerate(["moon rock is grey", "cheese is made of milk"])]
    assert witnesses(*others) == [0, 1]
    signed = [fact(str(i), text, origin="web", author="x") for i, text in enumerate(["moon rock is grey", "cheese is made of milk"])]
    assert witnesses(*signed) == [0, 0]


def test_a_record_without_terms_is_like_no_other() -> None:
    assert not alike(paths_of("", "the of", "...")).any()


def test_witnesses_share_one_vote_and_the_cap_keeps_a_third() -> None:
    assert weights([0, 0, 2], [0.8, 0.8, 1.0]) == [0.4, 0.4, 1.0]
    assert capped([0, 0, 0, 0, 4, 5, 6], 5) == [0, 1, 4, 5, 6]
    assert capped([0] * 9, 9) == [0, 1, 2]


# ---- the vote -------------------------------------------------------------------------------------------------------


def ballot(voter: str, tool: str, weight: float = 1.0, witness: str = "") -> Ballot:
    return Ballot(voter, of_call(ToolCall(tool)), weight, witness or voter)


def test_a_consensus_needs_more_than_half_the_weight_and_two_witnesses() -> None:
    settings = Settings()
    assert not tally([ballot("a", "get_x"), ballot("b", "wipe_y")], settings).quorum
    assert not tally([ballot("a", "get_x"), ballot("b", "get_x", witness="a")], settings).quorum
    won = tally([ballot("a", "get_x"), ballot("b", "get_x"), ballot("c", "wipe_y")], settings)
    assert (won.quorum, won.sources, won.voters) == (True, 2, {"a", "b"})
    assert won.share == pytest.approx(2 / 3)
    most = [ballot("a", "get_x", 0.4), ballot("b", "get_x", 0.4), ballot("c", "wipe_y", 0.5), ballot("d", "pay_z", 0.5)]
    assert (tally(most, settings).share < 0.5, tally(most, settings).quorum) == (True, False)
    assert not tally([], settings).quorum
    assert tally([ballot("a", "get_x", 0.0)], settings).action is None


@given(st.lists(st.tuples(st.sampled_from(["get_x", "wipe_y", "pay_z"]), st.floats(0, 1), st.sampled_from("uvw")), max_size=8))
def test_a_quorum_is_a_majority_whoever_votes(votes: list[tuple[str, float, str]]) -> None:
    counted = tally([ballot(str(i), tool, weight, witness) for i, (tool, weight, witness) in enumerate(votes)], Settings())
    if counted.quorum:
        assert counted.action is not None
        ours = [vote for vote in votes if vote[0] == counted.action.tool and vote[1] > 0]
        assert sum(weight for _, weight, _ in ours) * 2 > sum(weight for _, weight, _ in votes)
        assert len({witness for _, _, witness in ours}) >= 2
