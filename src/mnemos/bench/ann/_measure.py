"""Runs one adapter in its own environment, and measures it: `python _measure.py ADAPTER.py`, the request on stdin, a JSON object a line on stdout.

Needs the standard library and NumPy only. Each phase is a process of its own, so that its memory is its own:

build    reads the vectors, leaves an index in the folder
serve    opens it and asks, one query after the other, at each setting and filter
clients  opens it and asks from one thread for each core
change   opens it, inserts and deletes one by one
replace  opens it, replaces every vector once, asks in between, and at every setting before, after each quarter and at the end; in the last step
         the index's upkeep goes on in a thread beside

What was said before a phase dies or is ended stays said.
"""

import importlib.metadata
import importlib.util
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

WARM = 30
"""Queries before any is timed."""
LEAST = 20
"""Queries that are timed however long they take."""
FIRST = 200
"""Changes right after opening, when nothing of the index is in the page cache: they stand apart."""


def load(path: str) -> Any:
    """The module that lies at that path."""
    spec = importlib.util.spec_from_file_location(Path(path).stem.strip("_"), path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def memory() -> dict[str, int]:
    """Bytes of this process: resident, anonymous (what cannot be dropped), mapped from files, and the most that was resident since `forget_peak`."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    resident, anonymous, mapped, peak = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "RssAnon", "RssFile", "VmHWM"))
    return {"resident": resident, "anonymous": anonymous + int(fields["RssShmem"].split()[0]) * 1024, "mapped": mapped, "peak": peak}


def forget_peak() -> None:
    """The peak starts again from what is resident now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def read_from_disk() -> int:
    """Bytes that this process made the machine read from its disk so far."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["read_bytes"])


def drop_cache(folder: Path) -> None:
    """Asks the system to let go of the folder's files, so that the first reads come from the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


class Phases:
    """The phases of one request; `say` writes a line of the answer."""

    def __init__(self, adapter: Any, request: dict[str, Any], say: Any) -> None:
        self.request, self.say = request, say
        self.k = int(request["k"])
        self.out = Path(request["out"])
        self.index = adapter.Index(request["folder"], request["dimensions"], request["options"], request["cores"])
        self.start = memory()
        forget_peak()
        say({"event": "ready", "version": importlib.metadata.version(request["package"]), **self.start})

    def held(self) -> dict[str, int]:
        """Memory beyond that of the interpreter with the library loaded."""
        return {name: now - self.start["resident" if name == "peak" else name] for name, now in memory().items()}

    def build(self) -> None:
        vectors = np.load(self.request["vectors"], mmap_mode="r")[: self.request["count"]]
        attributes = np.load(self.request["attributes"])[: len(vectors)]
        start, cpu = time.perf_counter(), time.process_time()
        self.index.build(vectors, attributes)
        self.say({"event": "built", "seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu, **self.held()})
        self.index.close()

    def open(self) -> Any:
        """Opens with an empty page cache; gives the queries."""
        drop_cache(Path(self.request["folder"]))
        start = time.perf_counter()
        self.index.open()
        self.say({"event": "opened", "seconds": time.perf_counter() - start, **self.held()})
        if hasattr(self.index, "space"):
            self.say({"event": "space", **self.space()})
        return np.load(self.request["queries"])

    def serve(self) -> None:
        queries = self.open()
        self.cold(queries)
        for number, setting in enumerate(self.request["settings"]):
            self.ask(queries, setting, None, f"setting-{number}", {"event": "searched", "setting": number})
        for share, below in self.request["filters"]:
            try:
                allowed = self.index.filter(below)
            except NotImplementedError as error:
                self.say({"event": "no filter", "why": str(error)})
                break
            for number in self.request["filtered_settings"]:
                event = {"event": "filtered", "setting": number, "share": share}
                self.ask(queries, self.request["settings"][number], allowed, f"filter-{share}-{number}", event)
        self.index.close()

    def cold(self, queries: Any) -> None:
        """The first queries, whose reads come from the disk where the index lies there."""
        took = []
        for query in queries[:WARM]:
            start = time.perf_counter()
            self.index.search(query, self.k, self.request["settings"][0], None)
            took.append(time.perf_counter() - start)
        self.say({"event": "cold", "first_ms": took[0] * 1e3, "p50_ms": float(np.median(took)) * 1e3, "n": len(took)})

    def ask(self, queries: Any, setting: Any, allowed: Any, name: str, event: dict[str, Any]) -> None:
        """Every query once, or as many as the time allows; what was found goes into a file."""
        for query in queries[: min(WARM, LEAST)]:
            self.index.search(query, self.k, setting, allowed)
        found = np.full((len(queries), self.k), -1, dtype=np.int64)
        took = np.zeros(len(queries))
        notes: dict[str, list[float]] = {}
        disk, cpu, begin, n = read_from_disk(), time.process_time(), time.perf_counter(), 0
        for n, query in enumerate(queries, 1):
            start = time.perf_counter()
            ids = self.index.search(query, self.k, setting, allowed)
            end = time.perf_counter()
            took[n - 1] = end - start
            found[n - 1, : len(ids)] = ids
            for key, value in getattr(self.index, "noted", {}).items():
                notes.setdefault(key, []).append(float(value))
            if n >= LEAST and end - begin > self.request["seconds"]:
                break
        cpu = time.process_time() - cpu
        arrays: dict[str, Any] = {"found": found[:n], **{key: np.array(values) for key, values in notes.items()}}
        np.savez(self.out / f"{name}.npz", **arrays)
        p50, p95, p99 = np.percentile(took[:n] * 1e3, [50, 95, 99])
        self.say({**event, "n": n, "found": f"{name}.npz", "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "mean_ms": took[:n].mean() * 1e3,
                  "cpu_ms": cpu / n * 1e3, "disk_bytes": (read_from_disk() - disk) / n,
                  "noted": {key: float(np.mean(values)) for key, values in notes.items()}, **self.held()})

    def clients(self) -> None:
        queries = self.open()
        cores = sorted(os.sched_getaffinity(0))
        for number in self.request["filtered_settings"]:
            setting = self.request["settings"][number]
            for query in queries[:WARM]:
                self.index.search(query, self.k, setting, None)
            counts = [0] * len(cores)
            until = time.perf_counter() + self.request["seconds"]

            def work(mine: int, setting: Any = setting, counts: list[int] = counts, until: float = until) -> None:
                while time.perf_counter() < until:
                    self.index.search(queries[(counts[mine] * len(cores) + mine) % len(queries)], self.k, setting, None)
                    counts[mine] += 1

            begin = time.perf_counter()
            threads = [threading.Thread(target=work, args=(mine,)) for mine in range(len(cores))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.say({"event": "clients", "setting": number, "clients": len(cores), "qps": sum(counts) / (time.perf_counter() - begin)})
        self.index.close()

    def change(self) -> None:
        """Inserts rows from `count` on, one by one, then deletes as many of the first ones; is each inserted one found, is any deleted one?"""
        self.open()
        vectors, count = np.load(self.request["vectors"], mmap_mode="r"), self.request["count"]
        setting = self.request["settings"][self.request["filtered_settings"][0]]
        if not hasattr(self.index, "insert"):
            self.say({"event": "no change", "why": self.index.why_no_change})
            return
        rows = range(count, min(len(vectors), count + self.request["changes"]))
        inserted = self.one_by_one("inserted", rows, lambda row: self.index.insert(row, vectors[row], row))
        found = [row in self.index.search(vectors[row], self.k, setting, None) for row in inserted[:: max(1, len(inserted) // 200)]]
        self.say({"event": "found again", "share": float(np.mean(found)), "n": len(found)})
        deleted = self.one_by_one("deleted", range(len(inserted)), self.index.delete)
        wrong = [row in self.index.search(vectors[row], self.k, setting, None) for row in deleted[:: max(1, len(deleted) // 200)]]
        self.say({"event": "found after deletion", "share": float(np.mean(wrong)), "n": len(wrong)})
        self.index.close()

    def one_by_one(self, event: str, rows: Any, verb: Any) -> list[int]:
        took: list[float] = []
        begin, cpu = time.perf_counter(), time.process_time()
        for row in rows:
            start = time.perf_counter()
            verb(row)
            took.append(time.perf_counter() - start)
            if len(took) >= LEAST and time.perf_counter() - begin > self.request["seconds"]:
                break
        p50, p99 = np.percentile(np.array(took) * 1e3, [50, 99])
        first = float(np.percentile(np.array(took[:FIRST]) * 1e3, 99))
        self.say({"event": event, "n": len(took), "p50_ms": p50, "p99_ms": p99, "first_p99_ms": first, "rate": len(took) / sum(took),
                  "cpu_ms": (time.process_time() - cpu) / len(took) * 1e3, **self.held()})
        return list(rows[: len(took)])

    def replace(self) -> None:
        """Deletes row i and inserts row count + i, for every i, in steps; after each step the queries are asked at the first setting, after
        each quarter at all. `tend` is what the index does in the background: it runs between the changes and its time stands apart, and in the last
        step in a thread beside them."""
        queries = self.open()
        vectors, count = np.load(self.request["vectors"], mmap_mode="r"), self.request["count"]
        steps = np.array_split(np.arange(count), self.request["steps"])
        of_step = np.array_split(queries, len(steps) + 1)
        setting = self.request["settings"][0]
        self.ask(of_step[0], setting, None, "step-0", {"event": "step", "step": 0, **self.space()})
        self.quarter(of_step[0], 0)
        for number, rows in enumerate(steps, 1):
            took, background = np.zeros(len(rows)), 0.0
            beside = Beside(self.index.tend) if number == len(steps) and self.request["tend"] else None
            for i, row in enumerate(rows.tolist()):
                self.index.delete(row)
                start = time.perf_counter()
                self.index.insert(count + row, vectors[count + row], count + row)
                took[i] = time.perf_counter() - start
                if i % 100 == 99 and self.request["tend"] and beside is None:
                    start = time.perf_counter()
                    self.index.tend()
                    background += time.perf_counter() - start
            if beside is not None:
                background = beside.end()
            p50, p99 = np.percentile(took * 1e3, [50, 99])
            inserts = {"insert_p50_ms": p50, "insert_p99_ms": p99, "insert_max_ms": took.max() * 1e3, "background_seconds": background,
                       "beside": int(beside is not None)}
            if number == len(steps) or self.request["verify"]:
                self.say({"event": "verified", "step": number, "problems": len(self.index.verify())})
            self.ask(of_step[number], setting, None, f"step-{number}", {"event": "step", "step": number, **inserts, **self.space()})
            if number in [round(len(steps) * share) for share in (0.25, 0.5, 0.75)]:
                self.quarter(of_step[number], number)
        self.quarter(of_step[-1], len(steps))
        self.index.close()

    def quarter(self, queries: Any, step: int) -> None:
        """Asks at every setting."""
        for number, setting in enumerate(self.request["settings"]):
            self.ask(queries, setting, None, f"quarter-{step}-{number}", {"event": "quarter", "step": step, "setting": number})

    def space(self) -> dict[str, float]:
        return {name: float(value) for name, value in self.index.space().items()}


class Beside:
    """Calls `work` again and again in a thread, once at least."""

    def __init__(self, work: Any) -> None:
        self._over, self._pool = threading.Event(), ThreadPoolExecutor(1)
        self._running = self._pool.submit(self._run, work)

    def _run(self, work: Any) -> float:
        start = time.thread_time()
        work()
        while not self._over.wait(0.005):
            work()
        return time.thread_time() - start

    def end(self) -> float:
        """Waits for the call that goes on; the processor time of all. What the work raised is raised here."""
        self._over.set()
        with self._pool:
            return self._running.result()


def main() -> None:
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is not the answer
    request = json.load(sys.stdin)
    os.sched_setaffinity(0, request["cpus"])
    sys.addaudithook(load(request["guard"]).refuse_network)
    phases = Phases(load(sys.argv[1]), request, lambda event: answer.write(json.dumps(event) + "\n"))
    getattr(phases, request["phase"])()
    answer.write(json.dumps({"event": "end"}) + "\n")
    answer.close()


if __name__ == "__main__":
    main()
