"""Tools and evaluators: every call is answered, nothing is half done, what takes too long has failed, and what was written runs apart."""

from __future__ import annotations

import socket
import threading
from typing import Any

import orjson
import pytest

from mnemos.base.errors import Invalid, NotFound
from mnemos.text.program import toolbox
from mnemos.text.program.evaluators import DEFAULT, EVALUATORS, Pytest, check_all, default, evaluators
from mnemos.text.program.files import Edit, check_content, check_name, content_hash, patched
from mnemos.text.program.lint import dead_links, markdown_errors
from mnemos.text.program.sandbox import Limits, run_python
from mnemos.text.program.toolbox import SCHEMAS, Toolbox, read_arguments
from mnemos.text.program.yaml_lint import yaml_errors

FILES = {"main.py": "print('hello')\n", "lib/tool.py": "def f():\n    return 1\n", "README.md": "# Read me\n"}


@pytest.fixture
def tools() -> Toolbox:
    return Toolbox(evaluators(["python", "json"]))


def done(tools: Toolbox, name: str, files: dict[str, str] | None = None, /, **arguments: Any) -> Any:
    call: Any = {"id": "1", "name": name, "arguments": orjson.dumps(arguments).decode()}
    return tools.run(call, FILES if files is None else files, tools.tools)


def error_of(made: Any) -> dict[str, Any]:
    told: dict[str, Any] = orjson.loads(made.content)["error"]
    assert not made.changes
    assert made.error == told["kind"]
    return told


# -- calls that cannot be done --
def test_what_cannot_be_done_is_answered_and_changes_nothing(tools: Toolbox) -> None:
    unknown = error_of(done(tools, "fly"))
    assert unknown["kind"] == "unknown_tool"
    assert unknown["tools"] == [name for name in SCHEMAS if name != "plan"]
    raw: Any = {"id": "1", "name": "write_files", "arguments": "nonsense"}
    assert error_of(tools.run(raw, FILES, tools.tools))["kind"] == "bad_json"
    wrong = error_of(done(tools, "write_files", None, files=[{"path": "a"}]))
    assert wrong["kind"] == "wrong_arguments"
    assert "files[0] lacks contents" in wrong["message"]
    assert wrong["expected"] == SCHEMAS["write_files"]["parameters"]
    for name, arguments in (
        ("write_files", {"files": []}), ("write_files", {"files": [{"path": "a", "contents": 7}]}), ("view_files", {"names": "main.py"}),
        ("view_files", {}), ("view_files", {"names": [], "first_line": 0}), ("list_files", {"prefix": 7}), ("step_complete", {"really": [1]}),
    ):  # fmt: skip
        found = done(tools, name, None, **arguments)
        assert (found.error == "wrong_arguments") is (name != "step_complete")  # what nobody asked for is left out


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "", ".", "a//b", "a\\b", "c:x", "nul\0", "x" * 300, "a/", "lib", "main.py/x",
                                  "MAIN.py", "tail ", "dot.", "aux", "src/NUL.txt"])  # fmt: skip
def test_names_that_are_not_safe_everywhere(tools: Toolbox, name: str) -> None:
    made = done(tools, "write_files", None, files=[{"path": "good.md", "contents": "x"}, {"path": name, "contents": "x"}])
    assert error_of(made)["kind"] == "Invalid"


def test_names_and_contents_are_checked() -> None:
    assert check_name("./src/a b.py") == "src/a b.py"
    assert check_name("main.py", FILES) == "main.py"
    assert check_content("") == ""
    with pytest.raises(Invalid, match="at most 4,194,304 bytes"):
        check_content("x" * (2**22 + 1))
    with pytest.raises(Invalid, match="lone surrogate"):
        check_content("\ud800")


def test_arguments_are_mended_where_one_reading_is_possible() -> None:
    assert read_arguments("") == {}
    assert read_arguments('{"a": [1, 2') is None or read_arguments('{"a": [1, 2') == {"a": [1, 2]}
    assert read_arguments('{"names": ["a"]') == {"names": ["a"]}
    assert read_arguments('{"contents": "one\ntwo"}') == {"contents": "one\ntwo"}
    assert read_arguments("[1]") is None
    assert read_arguments("7") is None


# -- writing --
def test_writes_are_whole_and_checked_at_once(tools: Toolbox) -> None:
    made = done(tools, "write_files", None, files=[{"path": "./a.py", "contents": "x = 1\n"}, {"path": "empty.py", "contents": ""}])
    assert made.changes == {"a.py": "x = 1\n", "empty.py": ""}
    assert made.content == "Wrote a.py, empty.py. The checks pass."
    broken = done(tools, "write_files", None, files=[{"path": "a.py", "contents": "def f(:\n"}])
    assert broken.changes == {"a.py": "def f(:\n"}  # written, and said to fail: files are the worker's to correct
    assert broken.error == "checks"
    assert "THE CHECKS FAIL:\npython:\na.py: line 1" in broken.content
    assert error_of(done(tools, "write_files", None, files=[{"path": "a", "contents": "1"}, {"path": "a", "contents": "2"}]))["kind"] == "Invalid"


def test_patches_have_exactly_one_place() -> None:
    tools = Toolbox([])
    edits = [{"path": "main.py", "find": "hello", "replace": "you"}, {"path": "main.py", "find": "'you'", "replace": "'me'"},
             {"path": "lib/tool.py", "find": "return 1", "replace": "return 2"}]  # fmt: skip
    made = done(tools, "patch_files", None, edits=edits)
    assert made.changes == {"main.py": "print('me')\n", "lib/tool.py": "def f():\n    return 2\n"}
    missing = error_of(done(tools, "patch_files", None, edits=[*edits, {"path": "main.py", "find": "absent", "replace": ""}]))
    assert "main.py, edit 3: what to find is not there" in missing["message"]
    assert "write the whole file" in missing["message"]
    with pytest.raises(Invalid, match=r"is there 2 times \(lines 1, 2\)"):
        patched("a", "xx y\nxx", [Edit("xx", "z")])
    with pytest.raises(Invalid, match="is empty"):
        patched("a", "x", [Edit("", "z")])
    assert error_of(done(tools, "patch_files", None, edits=[{"path": "none", "find": "a", "replace": "b"}]))["kind"] == "NotFound"


def test_files_are_deleted_by_name_or_all() -> None:
    tools = Toolbox([])
    assert done(tools, "delete_files", None, names=["main.py", "main.py"]).changes == {"main.py": None}
    assert set(done(tools, "delete_files", None, names=["-1"]).changes) == set(FILES)
    assert error_of(done(tools, "delete_files", None, names=["main.py", "none"]))["kind"] == "NotFound"
    assert done(tools, "delete_files", {}, names=["-1"]).content == "Deleted nothing."


# -- reading --
def test_views_are_bounded_and_name_what_they_leave_out() -> None:
    tools = Toolbox([])
    made = done(tools, "view_files", None, names=["main.py", "lib/tool.py", "main.py"])
    assert made.content == "=== main.py\nprint('hello')\n\n=== lib/tool.py\ndef f():\n    return 1\n"
    assert made.read == {name: content_hash(FILES[name]) for name in ("main.py", "lib/tool.py")}
    big = {f"f{n}": "".join(f"line {i} of {n}\n" for i in range(400)) for n in range(5)}
    some = done(tools, "view_files", big, names=list(big))
    assert len(some.content) <= toolbox.VIEWED_CHARACTERS
    assert f"[not shown, because 14,000 characters are shown at once: {', '.join(sorted(set(big) - set(some.read)))}]" in some.content
    assert 0 < len(some.read) < 5
    many = {f"{'name' * 20}{n}": "x" * 9000 for n in range(60)}
    assert len(done(tools, "view_files", many, names=list(many)).content) <= toolbox.VIEWED_CHARACTERS
    huge = {"h": "".join(f"line {i}\n" for i in range(1, 5000))}
    seen, first = "", 1
    while True:
        part = done(tools, "view_files", huge, names=["h"], first_line=first).content
        assert len(part) <= toolbox.VIEWED_CHARACTERS
        seen += part
        if "go on with first_line" not in part:
            break
        first = int(part.rpartition("first_line ")[2].rstrip("]"))
    assert all(f"line {i}\n" in seen for i in range(1, 5000))
    assert done(tools, "view_files", {"empty": ""}, names=["empty"]).content == "=== empty\n"
    assert done(tools, "view_files", {"h": "x" * 20_000}, names=["h"]).content.endswith("[… cut in line 1: it is longer than what is shown at once]")
    assert error_of(done(tools, "view_files", None, names=["none"]))["message"].startswith("There is no file 'none'")


def test_names_are_listed() -> None:
    tools = Toolbox([])
    assert done(tools, "list_files").content == "README.md\nlib/tool.py\nmain.py"
    assert done(tools, "list_files", None, prefix="lib/").content == "lib/tool.py"
    assert done(tools, "list_files", {}).content == "There are none."
    many = done(tools, "list_files", {f"f{n:04d}": "" for n in range(500)}).content
    assert many.endswith("… and 300 more; narrow them with prefix")


# -- running what was written --
def test_files_run_apart(tools: Toolbox) -> None:
    files = {"main.py": "import sys, os\nfrom lib import f\nprint(f(), sys.argv[1:], sorted(os.environ) == [], 'SECRET_OF_TEST' in os.environ)\n",
             "lib.py": "def f():\n    open('left', 'w').write('x')\n    return 42\n"}  # fmt: skip
    made = done(tools, "run_python_file", files, name="main.py", arguments=["a b"])
    assert made.content.startswith("Ended with 0.\n42 ['a b'] False False")
    assert made.changes == {}
    failing = done(tools, "run_python_file", {"main.py": "import nothing_like_this\n"}, name="main.py")
    assert failing.error == "failed"
    assert "ModuleNotFoundError" in failing.content
    assert error_of(done(tools, "run_python_file", None, name="none"))["kind"] == "NotFound"


def test_what_takes_too_long_has_failed(tools: Toolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolbox, "RUN_SECONDS", 0.5)
    made = done(tools, "run_python_file", {"main.py": "print('began', flush=True)\nwhile True: pass\n"}, name="main.py")
    assert made.error == "failed"
    assert "Stopped after 0.5 seconds, which counts as failing.\nbegan" in made.content
    slow = {"test_slow.py": "import time\ndef test_it():\n    time.sleep(60)\n"}
    report = Pytest(seconds=1.0).check(slow)
    assert not report.ok
    assert "did not end within 1 seconds, which counts as failing" in report.text


def test_tests_are_run_and_their_failures_told(tools: Toolbox) -> None:
    files = {"calc.py": "def add(a, b):\n    return a - b\n", "test_calc.py": "from calc import add\ndef test_add():\n    assert add(2, 2) == 4\n"}
    report = Pytest().check(files)
    assert not report.ok
    assert "assert 0 == 4" in report.text
    assert Pytest().check({**files, "calc.py": "def add(a, b):\n    return a + b\n"}).ok
    made = done(tools, "pytest_files", files)
    assert made.error == "failed"
    assert "1 failed" in made.content
    assert Pytest().check({"a.py": ""}).ok
    assert not Pytest(required=True).check({"a.py": ""}).ok
    assert not Pytest().check({"test_a.py": "import nothing_like_this\ndef test_a(): pass\n"}).ok


def test_a_name_that_looks_like_an_option_is_a_name(tools: Toolbox) -> None:
    files = {"-k_test.py": "def test_a():\n    assert False\n", "-c": "print(5)\n"}
    assert not Pytest().check(files).ok  # as an option it would leave every test out
    assert done(tools, "pytest_files", files, names=["-k_test.py"]).error == "failed"
    assert "5" in done(tools, "run_python_file", files, name="-c", arguments=["print(7)"]).content


def test_pytest_is_left_out_where_it_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default() == DEFAULT
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert default() == ("python", "json", "yaml", "markdown")
    with pytest.raises(Invalid, match="pytest is not installed"):
        evaluators(["pytest"])


def test_limits_hold() -> None:
    flood = run_python({"a.py": "while True: print('x' * 1000)\n"}, ["a.py"], 20, Limits(written_bytes=200_000))
    assert flood.code not in (0, None)
    assert len(flood.output) <= 10_003
    greedy = run_python({"a.py": "x = 'a' * 10**10\n"}, ["a.py"], 20, Limits(memory_bytes=2**29))
    assert "MemoryError" in greedy.output
    with pytest.raises(Invalid, match="NUL"):
        run_python({}, ["a\0"], 1)


def test_no_network_where_the_system_allows_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        code = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)\nprint('connected')\n"
        with_network = run_python({"a.py": code}, ["a.py"], 20, Limits(network=True))
        assert "connected" in with_network.output
        without = run_python({"a.py": code}, ["a.py"], 20)
    if "connected" in without.output:
        pytest.skip("this system lets no process give up its network")
    assert without.code == 1


# -- lints --
def test_python_and_json_are_compiled_and_read_only() -> None:
    checks = evaluators(["python", "json"])
    good = {"a.py": "raise SystemExit('run')\n", "b.json": '{"a": [1, null]}', "c.txt": "def f(:", "d.py": ""}
    assert check_all(checks, good, writing=True).ok
    wrong = {"a.py": "x = (\n", "b.json": '{"a": 1, "a": 2}', "c.json": "{'a': 1}", "d.json": "NaN", "e.py": "x = '\0'", "f.json": ""}
    report = check_all(checks, wrong, writing=False)
    assert [error.partition(":")[0] for error in report.errors] == ["a.py", "e.py", "b.json", "c.json", "d.json", "f.json"]
    assert "the key 'a' is there twice" in report.text
    assert not check_all(checks, {"deep.py": "(" * 5000}, writing=True).ok
    many = check_all(checks, {f"f{n:02d}.py": "x = (" for n in range(40)}, writing=True)
    assert "… and 20 more" in many.text
    assert len(many.errors) == 40
    with pytest.raises(NotFound, match="there are python, json, yaml, markdown, links, pytest"):
        evaluators(["style"])
    assert [one.name for one in evaluators(list(EVALUATORS))] == list(EVALUATORS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# A\n\n## B\n\n[x](y.md) `[z](`\n\n```py\n# not [a]( heading\n```\n", []),
        ("# A\n### C\n", ["line 2: a heading of level 3 follows one of level 1"]),
        ("#\n", ["line 1: the heading is empty"]),
        ("text\n~~~\ncode\n", ["line 2: the block of code that begins here is not closed"]),
        ("[x]()\n", ["line 1: the link '[x]()' leads nowhere"]),
        ("see [x](y.md\n", ["line 1: a link is not closed"]),
        ("````\n```\n````\n", []),
    ],
)
def test_markdown(text: str, found: list[str]) -> None:
    assert list(markdown_errors(text)) == found


def test_links_lead_somewhere() -> None:
    files = {
        "a.md": "# One\n\n[b](docs/b.md) [h](docs/b.md#two-words) [own](#one) [web](https://x.org/y) [mail](mailto:a@b.c) [f](docs/) ![p](p.png)\n",
        "docs/b.md": "# Two words!\n\n[up](../a.md) [gone](../none.md) [h](../a.md#three)\n\n```\n[not](read.md)\n```\n",
        "p.png": "",
    }
    assert list(dead_links(files)) == [
        "docs/b.md, line 3: links to '../none.md', which is not there", "docs/b.md, line 3: links to '../a.md#three', and a.md has no such heading",
    ]  # fmt: skip
    assert not evaluators(["links"])[0].check(files).ok


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\nb:\n  - x: 1\n    y: 'it''s'\n  - x: 2\n  - [1, {a: b}]\nt: |\n  a: [ \"\n  a: 1\nz: don't\nu: http://x#y # c [\n", []),
        ("q: \"abc\n  def\"\nlist: [1,\n  2]\n--- \na: 1\n---\na: 2\n", []),
        ("? odd\n: value\n&anchor a: *b\n<<: *c\n", []),
        ("a:\n- b\n- c: 1\n  d: 2\ne: f\n", []),
        ("a: 1\n\tb: 2\n", ["line 2: is indented by a tab"]),
        ("a: 1\nb: 2\na: 3\n", ["line 3: the key 'a' is there twice"]),
        ("- a: 1\n  a: 2\n- a: 3\n", ["line 2: the key 'a' is there twice"]),
        ("a:\n    b: 1\n  c: 2\n", ["line 3: its indentation fits no line above it"]),
        ("a: [1, 2\nb: 3\n", ["line 1: the bracket [ is not closed"]),
        ("a: [1}\n", ["line 1: } closes [ of line 1"]),
        ("a: 'x\n", ["line 1: the quote ' is not closed"]),
    ],
)
def test_yaml(text: str, found: list[str]) -> None:
    assert list(yaml_errors(text)) == found


def test_yaml_agrees_with_a_parser_on_what_is_wrong() -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    wrong = ["a: [1, 2\n", "a: 'x\n", "a:\n    b: 1\n  c: 2\n", "a: {x: 1]\n", 'a: "\\q\n']
    right = ["a: 1\n", "- 1\n- [2, 3]\n", "a:\n  b: |\n    x: [\n  c: 'it''s'\n", "a: {b: [1, 2]}\n# end\n", "a: >-\n  text\nb: x # 'y\n"]
    for text in wrong:
        with pytest.raises(yaml.YAMLError):
            yaml.safe_load(text)
        assert list(yaml_errors(text)), text
    for text in right:
        yaml.safe_load(text)
        assert not list(yaml_errors(text)), text
