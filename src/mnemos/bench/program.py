"""Programs (L2MAC): output far beyond the window against single shot and rolling summary, exact contexts, corrected errors, cycles, costs."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

import mnemos
from mnemos.base.errors import MnemosError
from mnemos.base.meter import Seconds, machine
from mnemos.base.protocols import Reply
from mnemos.base.stats import wilson
from mnemos.bench.program_workers import (
    FORMS,
    RollingSummary,
    asked,
    breaking,
    met,
    remembering,
    repeating,
    single_shot,
    task,
    wandering,
    writer,
)
from mnemos.bench.registry import Benchmark, Options
from mnemos.bench.result import Check, Result
from mnemos.text.program.control import ControlUnit, opening
from mnemos.text.program.conversation import check_conversation, text_of
from mnemos.text.program.counting import bytes_bound
from mnemos.text.program.cycles import trace
from mnemos.text.program.evaluators import Pytest, check_all, evaluators
from mnemos.text.program.journal import MemoryJournal
from mnemos.text.program.request import Request
from mnemos.text.program.state import Settings
from mnemos.text.program.workers import Budget, as_reply, drive

Table = dict[str, dict[str, Any]]
WINDOW, REQUIREMENTS, TIMES_WINDOW, RATIO = 2000, 200, 50, 1.5
SHARES = (0.25, 0.5)
"""Of the window, for the summary of the rolling-summary agent; it is compared with the better one."""
SMALL = ("write_files", "patch_files", "view_files", "list_files", "delete_files", "step_complete")
NOTES = (
    "Workers are scripted and see nothing but their context: the same writer works in all three ways, so that what differs is what reaches it. How "
    "well a language model works is not measured.",
    "Rolling summary: the oldest messages are replaced by a summary that keeps requirements word for word, those still to be done first, in a "
    "quarter or half of the window. That is kinder than a model's summary; the bound is against the better of the two, for the longest of the three "
    "tasks that still fits into the window. Requirements of one word all fit into a summary of half the window, and there is nothing to lose.",
    "Features: the share of requirements whose own word stands in the files, as the paper counts requested features.",
    "A cycle of three different turns or more is longer than the rule sees; such a worker is ended by the limit of restarts.",
    "Overhead: processor time of the control unit for a turn, in memory, without the worker's own; in a space each turn is durable, with its fsyncs.",
)


def run(benchmark: Benchmark, options: Options) -> Result:
    """Every part in turn; `quick` makes fewer random runs."""
    clock, quick = Seconds(), options.quick
    checks: list[Check] = []
    tables: dict[str, Any] = {}
    parts: Sequence[tuple[str, Callable[[], tuple[list[Check], Table]]]] = (
        ("Output beyond the window", lambda: unbounded(options.seed)),
        ("Random runs", lambda: random_runs(150 if quick else 1000, options.seed)),
        ("Errors", lambda: errors(6 if quick else 30, options.seed)),
        ("Cycles", cycles),
        ("Memory of files", lambda: memory(5 if quick else 20, options.rng())),
        ("Costs", lambda: costs(options.seed, 400 if quick else 2000)),
    )
    for title, measure in parts:
        options.say(title)
        found, tables[title] = measure()
        checks += found
    details = {"tables": tables, "quick": quick, "seed": options.seed, "notes": list(NOTES)}
    return Result.of(benchmark.name, benchmark.paper, benchmark.claim, checks, seconds=clock.seconds, machine=machine().as_dict(), details=details)


def unit_of(text: str, plan: Any = "rules", **settings: Any) -> ControlUnit:
    """A run in memory."""
    chosen = Settings.from_json({"tools": SMALL, "evaluators": (), **settings})
    return ControlUnit(MemoryJournal(opening(text, chosen, plan)))


class Client:
    """What stands where a strict endpoint stands: counts each request by itself, and keeps what was wrong with any."""

    def __init__(self, worker: Callable[[Request], Any], window: int) -> None:
        self._worker = worker
        self._window = window
        self.over = self.illegal = self.requests = 0
        self.largest = 0.0
        self.temperatures: list[float] = []
        self.tokens: dict[int, int] = {}
        self.seconds = 0.0

    def __call__(self, request: Request) -> Reply:
        began = time.thread_time()
        tokens = sum(bytes_bound(orjson.dumps(part).decode()) for part in (*request.messages, *request.tools))
        self.requests += 1
        self.temperatures.append(request.temperature)
        self.over += tokens > self._window
        self.largest = max(self.largest, tokens / self._window)
        self.tokens[request.address] = self.tokens.get(request.address, 0) + tokens
        try:
            check_conversation(request.messages)
        except MnemosError:
            self.illegal += 1
        reply = as_reply(self._worker(request))
        self.seconds += time.thread_time() - began
        return reply


def unbounded(seed: int) -> tuple[list[Check], Table]:
    """200 requirements with a window of 2,000 tokens (check 1). The bounds are for phrases, of which all together just fit into the window, so
    that every way of working sees the whole task at first; shorter and longer requirements stand beside them."""
    table: Table = {}
    clients = {form: _compared(form, seed, table) for form in FORMS}
    features, sizes = ({name: row[column] for name, row in table.items()} for column in ("features", "output ÷ window"))
    best = max(features[f"a phrase, {_rolling(share)}"] for share in SHARES)
    program = "a phrase, program"
    whole = wilson(round(features[program] * REQUIREMENTS), REQUIREMENTS)
    requests = sum(client.requests for client in clients.values())
    return [
        Check.of(f"features of a program, window {WINDOW:,} tokens, share", whole, 1.0, baseline=best),
        Check("features ÷ those of the better rolling summary", features[program] / best, RATIO, n=REQUIREMENTS),
        Check("output ÷ window", sizes[program], TIMES_WINDOW, baseline=sizes["a phrase, single shot"], n=clients["a phrase"].requests),
        Check("single shot: output ÷ window", sizes["a phrase, single shot"], 1.0, at_least=False, n=1),
        Check("requests over the window", float(sum(client.over for client in clients.values())), 0.0, at_least=False, n=requests),
    ], table


def _compared(form: str, seed: int, table: Table) -> Client:
    """Program, single shot and both rolling summaries on one task, as rows of the table; gives the client of the program."""
    text = task(REQUIREMENTS, random.Random(seed), form)
    wanted = asked(text)
    unit, client = unit_of(text, window=WINDOW), Client(writer, WINDOW)
    if (ended := drive(unit, client)) != "done":
        raise MnemosError(f"program benchmark: the run ended as {ended}: {unit.state.reason}")
    ways = {"program": unit.files, "single shot": single_shot(text, WINDOW)}
    ways |= {_rolling(share): RollingSummary(WINDOW, share).run(text) for share in SHARES}
    for name, files in ways.items():
        table[f"{form}, {name}"] = {"task ÷ window": bytes_bound(text) / WINDOW, "features": met(wanted, files),
                                    "output ÷ window": _tokens(files) / WINDOW}  # fmt: skip
    return client


def _rolling(share: float) -> str:
    return f"rolling summary of {share:.0%}"


def _tokens(files: dict[str, str]) -> int:
    return sum(map(bytes_bound, files.values()))


def random_runs(count: int, seed: int) -> tuple[list[Check], Table]:
    """Workers that do anything, windows and settings of many kinds (checks 2 and 4)."""
    over = illegal = requests = crashes = restarts = 0
    largest = 0.0
    ended: dict[str, int] = {}
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        window = rng.choice([1600, 2000, 3000, 4000, 8000])
        unit = unit_of(
            "Do anything.", [f"Do part {part}." for part in range(rng.randint(1, 4))], window=window, reply=rng.choice([0, window // 8]),
            restarts=rng.randint(1, 6), free=rng.choice([100, 700]), keep_going=rng.random() < 0.5,
        )  # fmt: skip
        client = Client(wandering(seed * 10_000 + number), window)
        try:
            how = drive(unit, client, Budget(calls=80))
        except Exception:  # noqa: BLE001  (counted: whatever a worker does, the control unit must not raise)
            crashes += 1
            how = "crashed"
        ended[how] = ended.get(how, 0) + 1
        over, illegal, requests = over + client.over, illegal + client.illegal, requests + client.requests
        largest = max(largest, client.largest)
        restarts += sum(one.cost.restarts for one in unit.state.registry)
    return [
        Check("random runs: requests over the window", float(over), 0.0, at_least=False, n=requests),
        Check("random runs: requests that a strict endpoint refuses", float(illegal), 0.0, at_least=False, n=requests),
        Check("random runs that raised", float(crashes), 0.0, at_least=False, n=count),
    ], {"random runs": {"runs": count, "requests": requests, "largest ÷ window": largest, "restarts": restarts, **ended}}


def errors(seeds: int, seed: int) -> tuple[list[Check], Table]:
    """A worker that breaks what it writes with p = 0.3 (check 5): errors left with feedback, and without."""
    left = {True: 0, False: 0}
    made = {True: 0, False: 0}
    judges = evaluators(("python", "json"))
    for number in range(seeds):
        for told in (True, False):
            names = ("python", "json") if told else ()
            unit = unit_of("Write modules.", [f"Write module {part}." for part in range(20)], window=4000, evaluators=names)
            drive(unit, breaking(seed * 1000 + number, 0.3, told))
            left[told] += len(check_all(judges, unit.files, writing=False).errors)
            made[told] += len(unit.files)
    with Seconds() as spent:
        late = Pytest(seconds=1.0).check({"test_slow.py": "import time\n\n\ndef test_slow():\n    time.sleep(30)\n"})
    return [
        Check("errors left where the worker is told of them", float(left[True]), 0.0, at_least=False, baseline=float(left[False]), n=made[True]),
        Check("errors left where it is not", float(left[False]), 1.0, n=made[False]),
        Check("tests that do not end count as failing", float(not late.ok), 1.0, n=1),
    ], {"with feedback": {"errors": left[True], "files": made[True]}, "without": {"errors": left[False], "files": made[False]},
        "a test of 30 s, stopped after 1 s": {"s": spent.seconds}}  # fmt: skip


def cycles() -> tuple[list[Check], Table]:
    """Workers that repeat themselves below a temperature of 0.8 (check 6): they end, and the trace of temperatures is that of the rule."""
    done = alike = 0
    most = 0
    table: Table = {}
    cases = [(period, tools) for period, tools in ((1, False), (1, True), (2, False))]
    for period, tools in cases:
        unit = unit_of("Think.", ["Think."], window=WINDOW)
        client = Client(repeating(period, 0.8, tools), WINDOW)
        ended = drive(unit, client)
        seen = client.temperatures
        restarts = unit.state.registry[0].cost.restarts
        expected = _by_the_rule(unit)
        done += ended == "done" and restarts <= 30
        alike += seen == expected
        most = max(most, restarts)
        table[f"{period} turns, {'tools' if tools else 'words'}"] = {"calls": len(seen), "restarts": restarts, "temperatures": str(seen)}
    stuck = unit_of("Think.", ["Think."], window=WINDOW, restarts=30)
    gave_up = drive(stuck, lambda request: f"I think about {request.number % 3}." if request.purpose == "work" else "Nothing new.")
    kept = stuck.state.registry[0].cost.restarts
    table["never ends"] = {"ended": gave_up, "restarts": kept}
    return [
        Check("cycles that were broken within 30 restarts, share", done / len(cases), 1.0, n=len(cases)),
        Check("traces of temperatures that are the rule's, share", alike / len(cases), 1.0, n=len(cases)),
        Check("restarts of a worker that never ends", float(kept), 30.0, at_least=False, n=1),
    ], table


def _by_the_rule(unit: ControlUnit) -> list[float]:
    """The temperatures by the paper's rule, from the messages in the journal: read once more, apart from the control unit."""
    events = unit.journal.load()[0]
    said: list[str] = []
    out: list[float] = []
    temperature, results = 0.0, ""
    for event in events:
        if event["event"] == "call":
            repeated = any(len(said) >= 2 * n and said[-n:] == said[-2 * n : -n] for n in (2, 3, 4))
            temperature = min(1.0, round(temperature + 0.4, 6)) if repeated else max(0.0, round(temperature - 0.1, 6))
            out.append(temperature)
        elif event["event"] == "reply":
            made = {"tool_calls": event["calls"]} if event["calls"] else {}
            said.append(trace(text_of({"role": "assistant", "content": event["text"], **made})))  # type: ignore[typeddict-item]
            results = ""
        elif event["event"] == "tool":
            results += event["content"]
        elif event["event"] == "say":
            said += [trace(results)] if results else []
            said.append(trace(event["content"]))
    return out


def memory(count: int, rng: np.random.Generator) -> tuple[list[Check], Table]:
    """A file of one step, changed in a later one, needed in a third of a program of 100 steps (check 7)."""
    once = current = 0
    for number in range(count):
        written, changed, needed = (3, 50, 97) if number == 0 else sorted(int(n) for n in rng.choice(100, 3, replace=False))
        unit = unit_of("Write a long report.", [f"Write part {part}." for part in range(100)], window=WINDOW)
        drive(unit, remembering(written, changed, needed))
        reads = [event for event in unit.journal.load()[0] if event["event"] == "tool" and f"s{written}.md" in event["read"]]
        once += len(reads) == 1 and unit.state.files[f"s{needed}.md"].author == needed
        current += unit.files[f"s{needed}.md"].strip() == f"# Changed in step {changed}"
    return [
        Check.of("files of a step long ago that were read exactly once, share", wilson(once, count), 1.0),
        Check.of("… and whose content was the current one, share", wilson(current, count), 1.0),
    ], {"memory": {"programs": count, "steps": 100}}


def costs(seed: int, files: int) -> tuple[list[Check], Table]:
    """What is reported for each instruction against what the client counted, and the control unit's own time for a turn (check 8), also in a
    program of so many instructions and files, with all that looks at them."""
    unit, client, own = _timed(task(REQUIREMENTS, random.Random(seed)))
    every = ("python", "json", "yaml", "markdown", "links")
    _, _, large = _timed(task(files, random.Random(seed)), per_step=1, window=2 * WINDOW, evaluators=every)
    wrong = sum(one.cost.tokens_in != client.tokens.get(address, 0) for address, one in enumerate(unit.state.registry))
    spent = [one.cost.tokens_in + one.cost.tokens_out for one in unit.state.registry]
    with tempfile.TemporaryDirectory(prefix="mnemos-bench-") as home, mnemos.open(str(Path(home, "store.db")), embedder="none") as mem:
        program = mem.space("bench").program(task(20, random.Random(seed)), window=WINDOW, reply=0, tools=list(SMALL), evaluators=[])
        with Seconds() as durable:
            calls = program.run(writer).cost.calls
    return [
        Check("overhead of the control unit, ms a turn", own, 5.0, at_least=False, n=client.requests),
        Check(f"… of a program of {files:,} instructions and files, all checked", large, 5.0, at_least=False, n=3 * files),
        Check("instructions whose tokens are not those that were sent", float(wrong), 0.0, at_least=False, n=len(spent)),
    ], {
        "tokens of an instruction": {"least": min(spent), "mean": float(np.mean(spent)), "most": max(spent), "instructions": len(spent)},
        "a turn": {"ms in memory": own, "ms in a space, durable": durable.seconds / calls * 1e3, "durable turns": calls},
    }


def _timed(text: str, window: int = WINDOW, **settings: Any) -> tuple[ControlUnit, Client, float]:
    """(a run to its end, its client, milliseconds of processor time of the control unit for a turn)."""
    unit, client = unit_of(text, window=window, **settings), Client(writer, window)
    began = time.thread_time()
    drive(unit, client)
    return unit, client, (time.thread_time() - began - client.seconds) / client.requests * 1e3
