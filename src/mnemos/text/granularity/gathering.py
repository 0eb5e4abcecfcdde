"""Whether a question is answered by a turn or only by a whole session: how much of it one turn says, of what a session says together.

The paper's router goes by the entropies of the grains' profiles alone. On real conversations these are alike for questions about one turn and for
questions about themes (LoCoMo: 0.26 for the best turn, 0.31 to 0.32 for the other grains), and the coarser grains then count nearly as much as the
turn, which alone is right more often than any mixture with them. What tells the two apart is where the question's words stand.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Rows = NDArray[np.int64]

ENOUGH = 0.5
"""Share of what the best session says of a question from which on its best turn is enough: half."""
MOST_TERMS = 62


def one_turn(held: Rows, session: Rows, terms: int) -> float:
    """How much of a question the best single turn says, against the best session as a whole: 0..1; 1 where nobody says any of it.

    `held` (n,): bit i is set where a turn holds term i of so many `terms`; `session` (n,): the number, from 0 on, of the session that each turn
    stands in. A term counts by how few sessions hold it, so that a long session does not seem to say more by its small talk.
    """
    if not len(held) or not terms:
        return 1.0
    sessions = int(session.max()) + 1
    turns, together = np.zeros(len(held)), np.zeros(sessions)
    for at in range(terms):
        holding = np.flatnonzero(held >> at & 1)
        if not len(holding):
            continue
        among = np.unique(session[holding])
        weight = max(float(np.log((sessions + 1) / (len(among) + 0.5))), 0.0)
        turns[holding] += weight
        together[among] += weight
    most = float(together.max())
    return float(turns.max()) / most if most > 0 else 1.0


def leaned(sure: Numbers, alone: float, enough: float = ENOUGH) -> Numbers:
    """The weights of the grains, the turn first, (g,), sum 1, leant by `one_turn`: the turn alone where it is enough, else the turn by what it says,
    and the others by what it leaves."""
    if alone >= enough or len(sure) < 2:
        return np.asarray(np.eye(len(sure))[0])
    out = sure * np.array([alone, *[1 - alone] * (len(sure) - 1)])
    total = float(out.sum())
    return np.asarray(out / total) if total > 1e-12 else np.full(len(sure), 1.0 / len(sure))
