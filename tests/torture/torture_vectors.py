"""Stops of vector indexes: at any write of lives in which lists split, merge and move all the time, with and without loss of power.

`python tests/torture/torture_vectors.py --kills 5000 [--seed N]` prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from index.spann.life import calls, cut_short

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    problems: list[str] = []
    done = 0
    seed, at, last = given.seed, 0, 0
    while done < given.kills and len(problems) < 20:
        if at >= last:  # every write of one life, then that of the next
            seed, at, last = seed + 1, 0, calls(seed + 1)
        at += 1
        power = rng.random() < 0.5
        try:
            done += cut_short(seed, at, power)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is a finding)
            problems.append(f"seed {seed}, call {at}, {'loss of power' if power else 'kill'}: {type(error).__name__}: {error}"[:300])
    print(json.dumps({"kills": done, "lives": seed - given.seed, "problems": problems}))
    sys.exit(bool(problems))
