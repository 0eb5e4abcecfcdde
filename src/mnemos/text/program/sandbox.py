"""Running what a program wrote: in a process of its own, in an empty folder, with limits, a clean environment and, on Linux, no network.

This keeps mistakes in: loops without end, floods of output, processes left behind, calls of the network. It is no wall against code that means
harm, which can still read what its user may read; run such code in a container or a virtual machine.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mnemos.base.errors import Invalid

_LAUNCHER = """
import ctypes, os, resource, signal, sys
seconds, memory, written, network = (int(a) for a in sys.argv[1:5])
command = sys.argv[5:]
def limit(kind, value):
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(kind, (value, value))
    except (ValueError, OSError):
        pass
child = 0
if not network and sys.platform == "linux":
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    NEWUSER, NEWNET, NEWPID = 0x10000000, 0x40000000, 0x20000000
    if libc.unshare(NEWUSER | NEWNET | NEWPID) == 0:
        try:
            for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
                with open(f"/proc/self/{name}", "w") as file:
                    file.write(text)
        except OSError:
            pass
        child = os.fork()
        if child == 0:
            libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: with this process dies every other of its namespace
    elif libc.unshare(NEWNET) != 0:
        libc.unshare(NEWUSER | NEWNET)
if child:
    code = os.waitpid(child, 0)[1]
    os._exit(os.WEXITSTATUS(code) if os.WIFEXITED(code) else 128 + os.WTERMSIG(code))
limit(resource.RLIMIT_CPU, seconds + 1)
limit(resource.RLIMIT_AS, memory)
limit(resource.RLIMIT_FSIZE, written)
limit(resource.RLIMIT_CORE, 0)
limit(resource.RLIMIT_NOFILE, 256)
os.execv(command[0], command)
"""
"""Gives up the network, then sets the limits, then becomes the command: done by a process of its own, because a process with threads cannot
safely do it between fork and exec."""

_KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "SYSTEMROOT", "TZ")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one run. `memory_bytes`: of address space (default 2 GiB). `written_bytes`: of each file that it writes, its output included (default
    16 MiB). `shown_characters`: of the output that is kept, its end (default 10,000). `network`: leave it the network. Numbers are ours."""

    memory_bytes: int = 2 * 2**30
    written_bytes: int = 16 * 2**20
    shown_characters: int = 10_000
    network: bool = False


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended: its exit code (None where it was stopped for time), and what it printed, both streams as they came, the end of it."""

    code: int | None
    output: str

    @property
    def timed_out(self) -> bool:
        return self.code is None


def run_python(files: Mapping[str, str], arguments: Sequence[str], seconds: float, limits: Limits | None = None) -> Ran:
    """Run this Python on `arguments` in a folder that holds `files` and is removed afterwards. What it writes there is not kept."""
    limits = limits or Limits()
    if any("\0" in argument for argument in arguments):
        raise Invalid("arguments: one of them holds a NUL character")
    with tempfile.TemporaryDirectory(prefix="mnemos-run-", ignore_cleanup_errors=True) as folder:
        home = Path(folder, "files")
        put(files, home)
        with open(Path(folder, "output"), "w+b") as output:
            command = [sys.executable, "-B", "-s", *arguments]
            code = _run(command, home, seconds, limits, output.fileno())
            size = output.seek(0, os.SEEK_END)
            output.seek(max(0, size - 4 * limits.shown_characters))
            text = output.read().decode("utf-8", "replace").replace(str(home), ".")
    return Ran(code, text if len(text) <= limits.shown_characters else f"[…]{text[-limits.shown_characters :]}")


def put(files: Mapping[str, str], folder: Path) -> None:
    """Write files into a folder, which is made where there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def _run(command: Sequence[str], home: Path, seconds: float, limits: Limits, output: int) -> int | None:
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment |= {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home.parent), "PYTHONHASHSEED": "0", "PYTHONUTF8": "1"}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # what happens to be installed must not decide whether tests pass
    if os.name == "posix":
        numbers = (int(seconds), limits.memory_bytes, limits.written_bytes, int(limits.network))
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *map(str, numbers), *command]
    process = subprocess.Popen(
        command, cwd=home, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, close_fds=True
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()
        process.wait()
