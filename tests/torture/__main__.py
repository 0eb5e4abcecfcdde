"""The long fault runs: `python tests/torture` (`make torture`). Prints one JSON object; ends with 1 where anything was wrong.

10,000 kill cycles, every fault at every call, 5,000 stops of vector indexes, hundreds of flipped bits in each file, two minutes of a crowd,
1,000 kills of workers, 10,000 requests to the server, thousands of calls of the Python API and of command lines; kills, faults, flips and the
crowd on sealed stores, too. `--short` runs about a hundredth; names of parts run only those.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SCRIPTS = {
    "kill": (["torture_kill.py", "--cycles", "10000"], ["torture_kill.py", "--cycles", "100"]),
    "faults": (["torture_faults.py"], ["torture_faults.py", "1"]),
    "flips": (["torture_flips.py", "400"], ["torture_flips.py", "30", "--quick"]),
    "crowd": (["torture_crowd.py", "--seconds", "120"], ["torture_crowd.py", "--seconds", "5"]),
    "sealed-kill": (["torture_kill.py", "--sealed", "--cycles", "4000"], ["torture_kill.py", "--sealed", "--cycles", "40"]),
    "sealed-faults": (["torture_faults.py", "--sealed"], ["torture_faults.py", "1", "--sealed"]),
    "sealed-crowd": (["torture_crowd.py", "--sealed", "--seconds", "60"], ["torture_crowd.py", "--sealed", "--seconds", "5"]),
    "sealed-flips": (["torture_flips.py", "200", "--sealed"], ["torture_flips.py", "15", "--quick", "--sealed"]),
    "vectors": (["torture_vectors.py", "--kills", "5000"], ["torture_vectors.py", "--kills", "50"]),
    "jobs": (["torture_jobs.py", "--kills", "1000"], ["torture_jobs.py", "--kills", "20"]),
}
TESTS = {
    "requests": "server/test_server_fuzz.py",
    "calls": "kernel/test_fuzz_api.py",
    "commands": "cli/test_cli_fuzz.py",
}


def script(arguments: list[str]) -> dict[str, Any]:
    """Run a part that says itself, in JSON, what it saw."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(HERE / arguments[0]), *arguments[1:]], stdout=subprocess.PIPE, text=True, env=environment)
    said: dict[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {"problems": []}
    if done.returncode and not said["problems"]:
        said["problems"].append(f"ended with {done.returncode} and named no problem")
    return said


def tests(file: str, marker: str) -> dict[str, Any]:
    """Run the tests of a file that carry the marker, or do not."""
    command = [sys.executable, "-m", "pytest", str(HERE.parent / file), "-m", marker, "-s", "--tb=short"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=HERE.parent.parent)
    sys.stderr.write(done.stdout if done.returncode else "")
    passed = re.search(r"(\d+) passed", done.stdout)
    problems = re.findall(r"^(?:FAILED|ERROR) (.*)$", done.stdout, re.M)
    if (done.returncode or not passed) and not problems:
        problems.append(f"ended with {done.returncode}: {done.stdout.strip()[-300:]}")
    cases = re.findall(r"cases: (\d+)", done.stdout)
    return {"passed": int(passed[1]) if passed else 0, "cases": sum(map(int, cases)), "problems": problems}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python tests/torture")
    parser.add_argument("parts", nargs="*", choices=[*SCRIPTS, *TESTS, []], help="what to run; without any, everything")
    parser.add_argument("--short", action="store_true")
    given = parser.parse_args()
    results: dict[str, Any] = {}
    for name in given.parts or [*SCRIPTS, *TESTS]:
        started = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        if name in SCRIPTS:
            results[name] = script(SCRIPTS[name][given.short])
        else:
            results[name] = tests(TESTS[name], "not torture" if given.short else "torture")
        results[name]["seconds"] = round(time.monotonic() - started)
        print(f"{name}: {len(results[name]['problems'])} problems in {results[name]['seconds']} s", file=sys.stderr, flush=True)
    print(json.dumps(results, indent=1))
    sys.exit(any(result["problems"] for result in results.values()))
