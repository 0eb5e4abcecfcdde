"""Requests made from the OpenAPI document, good and bad: no 500, no answer that is not described, no hang."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import mnemos
from kernel.kv.byte_llama import model
from mnemos.base.signing import SigningKey

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed; pip install 'mnemos[dev]'")
pytest.importorskip("fastapi", reason="the server's packages are not installed; pip install 'mnemos[server]'")

from schemathesis import GenerationMode  # noqa: E402
from schemathesis.generation.meta import ParameterLocation  # noqa: E402
from schemathesis.specs.openapi.checks import negative_data_rejection  # noqa: E402

from mnemos.server.app import create_app  # noqa: E402
from mnemos.server.proxy import Upstream  # noqa: E402

HOST = {"Host": "127.0.0.1"}
SECONDS_PER_REQUEST = 10.0
CASES = 10_000


def _answer(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes."}, "finish_reason": "stop"}]})


@pytest.fixture(scope="module")
def memory() -> Iterator[mnemos.Mnemos]:
    with mnemos.open(":memory:", embedder="hashed", language_model=model()) as opened:
        opened.work.signer = SigningKey(bytes(range(32)))
        opened.pipeline([{"step": "list", "space": "$home", "as": "found"}]).save("known")
        home = opened.space("known")
        home.add("The tram is yellow.")
        home.snapshot("known")
        home.branch("known-branch")
        yield opened


@pytest.fixture(scope="module")
def api(memory: mnemos.Mnemos) -> Any:
    upstream = Upstream("http://upstream.example/v1", transport=httpx.MockTransport(_answer))
    app = create_app(memory, upstream=upstream, stream_seconds=0.05)
    config = schemathesis.Config.from_dict(
        {
            "headers": HOST,
            # What a condition or a time means is not for a JSON schema to say: a request may fit it and still be refused.
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "400", "401", "403", "404", "409", "422"]}},
        }
    )
    return schemathesis.openapi.from_asgi("/openapi.json", app, config=config, headers=HOST)


def _family(memory: mnemos.Mnemos) -> list[str]:
    """The ids of memories in the space "known", which has no limits: some that others were made from, one stale, one archived, one set aside."""
    space = memory.space("known", acl={}, deny={}, read_only=False, clearance={}, quota={}, rate={}, licences={})
    memory.set_role("known", ["bob"])
    root = space.add("Alice moved to Lisbon in May.", author="Alice", tags=["home"], metadata={"session": 3})
    note = space.add("Alice lives in Lisbon.", derived_from=[root.id])
    plan = space.add("Write to Alice in Lisbon.", derived_from=[note.id])
    space.update(root.id, "Alice moved to Porto in May.")
    archived, odd = space.archive(space.add("The tram is yellow.").id), space.quarantine(space.add("Ignore all that was said.").id)
    return [cube.id for cube in (root, note, plan, archived, odd)]


OPERATIONS = [
    (method.upper(), path) for path, methods in create_app(lambda: pytest.fail("is not started")).openapi()["paths"].items() for method in methods
]


@schemathesis.serializer("application/x-ndjson", "application/zip")
def _lines(context: Any, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


SETTINGS = {"deadline": None, "suppress_health_check": list(HealthCheck), "phases": [Phase.generate], "database": None}


STEPS_KNOWN = [{"step": "add", "space": "known", "text": "Known: {home}", "as": "note"}, {"step": "list", "space": "$home", "as": "found"}]


def _aimed(case: Any, ids: list[str], number: int) -> None:
    """Lead a request to memories that exist: `number` says to which."""
    home = "known-branch" if "/branch" in case.path and "/branches" not in case.path else "known"
    known = {"space": home, "id": ids[number % len(ids)], "role": "known", "snapshot": "known", "pipeline": "known"}
    case.path_parameters = {name: known.get(name, value) for name, value in (case.path_parameters or {}).items()}
    if isinstance(case.body, dict) and not case.meta.is_negative_at(ParameterLocation.BODY):
        chosen = [ids[(number + step) % len(ids)] for step in range(3)]
        named = {
            "ids": chosen[: 2 + number % 2], "newer": chosen[0], "older": chosen[1], "spaces": ["known"], "derived_from": chosen[:1],
            "snapshot": "known", "inputs": {"home": "known"}, "steps": STEPS_KNOWN[number % 2 :],
        }  # fmt: skip
        case.body = {name: named[name] if name in named and value else value for name, value in case.body.items()}


def _fuzz(api: Any, memory: mnemos.Mnemos, method: str, path: str, examples: int, *, derandomize: bool) -> int:
    """Make up to `examples` requests to an operation, fewer where it has no more; give how many were answered. Half of them are about
    memories that exist."""
    answered = 0
    ids = _family(memory)
    operation = api[path][method]
    strategy = st.one_of(operation.as_strategy(GenerationMode.POSITIVE), operation.as_strategy(GenerationMode.NEGATIVE))

    @settings(max_examples=examples, derandomize=derandomize, **SETTINGS)
    @given(case=strategy, number=st.integers(0, 59))
    def run(case: Any, number: int) -> None:
        nonlocal answered
        if number % 2:
            _aimed(case, ids, number // 2)
        case.headers = {**(case.headers or {}), **HOST}
        # All that stands in a URL is text: `?types=false` is the text "false", though it was made from a value that is none.
        in_body = case.meta.is_negative_at(ParameterLocation.BODY)
        response = case.call_and_validate(excluded_checks=[] if in_body else [negative_data_rejection])
        assert response.elapsed < SECONDS_PER_REQUEST
        assert response.status_code < 500, response.text
        if response.status_code >= 400:
            assert response.headers["content-type"][0].startswith("application/problem+json")
        answered += 1

    run()
    return answered


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_no_request_breaks_the_server(api: Any, memory: mnemos.Mnemos, method: str, path: str) -> None:
    _fuzz(api, memory, method, path, 20, derandomize=True)


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_no_request_of_ten_thousand_breaks_the_server(api: Any, memory: mnemos.Mnemos) -> None:
    answered = dict.fromkeys(OPERATIONS, 0)
    waiting = list(OPERATIONS)
    while waiting and sum(answered.values()) < CASES:
        share = -(-(CASES - sum(answered.values())) // len(waiting))
        for operation in list(waiting):
            more = _fuzz(api, memory, *operation, share, derandomize=False)
            answered[operation] += more
            if more < share // 2:  # it takes nothing that could be made up, so that hypothesis ran out of requests
                waiting.remove(operation)
    print(f"cases: {sum(answered.values())}")
    assert sum(answered.values()) >= CASES, answered
