"""The long fault runs: `python tests/torture` (`make torture`). Prints one JSON object; ends with 1 where anything was wrong.

10,000 kill cycles, every fault at every call, hundreds of flipped bits in each file, two minutes of a crowd. `--short` runs a hundredth.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PARTS = {
    "kill": (["torture_kill.py", "--cycles", "10000"], ["torture_kill.py", "--cycles", "100"]),
    "faults": (["torture_faults.py"], ["torture_faults.py", "1"]),
    "flips": (["torture_flips.py", "400"], ["torture_flips.py", "30", "--quick"]),
    "crowd": (["torture_crowd.py", "--seconds", "120"], ["torture_crowd.py", "--seconds", "5"]),
}

if __name__ == "__main__":
    wrong = False
    results = {}
    for name, (full, short) in PARTS.items():
        script, *arguments = short if "--short" in sys.argv else full
        started = time.monotonic()
        print(f"{name}: {' '.join([script, *arguments])} …", file=sys.stderr, flush=True)
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, str(HERE / script), *arguments], stdout=subprocess.PIPE, text=True, env=environment)
        results[name] = json.loads(done.stdout) if done.stdout.strip() else {"problems": [f"ended with {done.returncode} and said nothing"]}
        results[name]["seconds"] = round(time.monotonic() - started)
        problems = len(results[name]["problems"])
        wrong |= bool(problems) or done.returncode != 0
        print(f"{name}: {problems} problems in {results[name]['seconds']} s", file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1))
    sys.exit(wrong)
