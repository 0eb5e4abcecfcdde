"""The tools, asked by the SDK's own client: in the process, over standard input and output, and over HTTP."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from server_support import TOKENS

import mnemos

mcp = pytest.importorskip("mcp", reason="the MCP SDK is not installed; pip install 'mnemos[server]'")
from mcp import Client, StdioServerParameters  # noqa: E402

from mnemos.server.mcp import TOOLS, call_tool, make_server  # noqa: E402

NAMES = ["memory_add", "memory_search", "memory_context", "memory_get", "memory_update", "memory_history", "memory_explain", "memory_forget",
         "memory_list"]  # fmt: skip


def with_client(server: Any, work: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with Client(server, **options) as client:
            await work(client)

    asyncio.run(asyncio.wait_for(run(), 60))


async def use_every_tool(client: Any) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(tools) == NAMES
    for tool in tools.values():
        assert tool.description
        assert tool.input_schema["type"] == "object"
        assert tool.input_schema["additionalProperties"] is False
    assert tools["memory_search"].annotations.read_only_hint is True
    assert tools["memory_forget"].annotations.destructive_hint is True

    async def call(tool: str, **arguments: Any) -> Any:
        result = await client.call_tool(tool, {"space": "alice", **arguments})
        assert not result.is_error, result.content
        return result

    cube = (await call("memory_add", text="Alice moved to Lisbon.", author="Alice", tags=["home"])).structured_content
    await call("memory_add", text="The recipe needs two eggs.")
    hits = (await call("memory_search", query="Where does Alice live?", k=1)).structured_content["hits"]
    assert [hit["id"] for hit in hits] == [cube["id"]]
    context = await call("memory_context", query="Where does Alice live?", budget_tokens=200)
    assert "Lisbon" in context.content[0].text
    assert cube["id"] in [source["id"] for source in context.structured_content["sources"]]
    assert (await call("memory_update", id=cube["id"], text="Alice moved to Porto.", if_version=1)).structured_content["version"] == 2
    assert (await call("memory_get", id=cube["id"])).structured_content["text"] == "Alice moved to Porto."
    assert (await call("memory_get", id=cube["id"], version=1)).structured_content["text"] == "Alice moved to Lisbon."
    assert len((await call("memory_history", id=cube["id"])).structured_content["versions"]) == 2
    note = (await call("memory_add", text="Alice has a flat in Porto.", derived_from=[cube["id"]])).structured_content
    await call("memory_update", id=cube["id"], text="Alice moved to Faro.")
    stale = await call("memory_search", query="Where does Alice live?", stale=True)
    assert [(hit["id"], hit["stale"]) for hit in stale.structured_content["hits"]] == [(note["id"], True)]
    known = {source["id"]: source["stale"] for source in (await call("memory_context", query="Alice Porto Faro")).structured_content["sources"]}
    assert (known[note["id"]], known[cube["id"]]) == (True, False)
    told = await call("memory_explain", id=note["id"])
    assert "(changed since)" in told.content[0].text
    assert [step["outdated"] for step in told.structured_content["sources"]] == [True]
    again = (await call("memory_update", id=note["id"], text="Alice has a flat in Faro.", derived_from=[cube["id"]])).structured_content
    assert again["stale"] is False
    page = (await call("memory_list", limit=1)).structured_content
    assert len(page["memories"]) == 1
    assert len((await call("memory_list", limit=1, cursor=page["cursor"])).structured_content["memories"]) == 1
    certificate = (await call("memory_forget", ids=[cube["id"]], reason="asked for")).structured_content["certificate"]
    assert certificate["cubes"][0]["id"] == cube["id"]
    gone = await client.call_tool("memory_get", {"space": "alice", "id": cube["id"]})
    assert gone.is_error
    assert "forgotten" in gone.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_tools_in_the_process(memory: mnemos.Mnemos, mode: str) -> None:
    with_client(make_server(memory), use_every_tool, mode=mode)
    assert [cube.text for cube in memory.space("alice").list()] == ["The recipe needs two eggs."]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_tools_over_standard_input_and_output(tmp_path: Any, mode: str) -> None:
    code = (
        "import sys, mnemos\nfrom mnemos.server.mcp import run_stdio\n"
        "with mnemos.open(sys.argv[1], embedder='hashed') as memory: run_stdio(memory)"
    )
    path = str(tmp_path / "memory.db")
    with_client(StdioServerParameters(command=sys.executable, args=["-c", code, path]), use_every_tool, mode=mode)
    with mnemos.open(path, embedder="hashed") as memory:
        assert len(memory.space("alice").list()) == 1
        assert memory.verify()


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_tools_over_http(serving: Any, mode: str) -> None:
    served = serving()
    with_client(f"{served.url}/mcp", use_every_tool, mode=mode)
    code, _, err = served.stop()
    assert code == 0, err


def test_over_http_a_token_says_who_asks(serving: Any) -> None:
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    served = serving(tokens=TOKENS)

    def as_principal(name: str, tool: str, **arguments: Any) -> Any:
        found = []

        async def work(client: Any) -> None:
            found.append(await client.call_tool(tool, arguments))

        async def run() -> None:
            async with (
                httpx2.AsyncClient(headers={"Authorization": f"Bearer {name}-token"}) as http,
                Client(streamable_http_client(f"{served.url}/mcp", http_client=http)) as client,
            ):
                await work(client)

        asyncio.run(asyncio.wait_for(run(), 60))
        return found[0]

    cube = as_principal("alice", "memory_add", space="diary", text="Dear diary.").structured_content
    for tool, arguments in (
        ("memory_get", {"id": cube["id"]}),
        ("memory_explain", {"id": cube["id"]}),
        ("memory_search", {"query": "diary"}),
        ("memory_list", {}),
        ("memory_forget", {"ids": [cube["id"]]}),
    ):
        refused = as_principal("bob", tool, space="diary", **arguments)
        assert refused.is_error
        assert "Dear diary" not in refused.content[0].text
    refused = as_principal("bob", "memory_add", space="diary", text="I was here.")
    assert refused.is_error
    assert as_principal("alice", "memory_list", space="diary").structured_content["memories"][0]["text"] == "Dear diary."


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("memory_add", {}),
        ("memory_add", {"text": ""}),
        ("memory_add", {"text": "x", "colour": "red"}),
        ("memory_add", {"text": "x\ud800"}),
        ("memory_add", {"text": "x", "event_at": "yesterday"}),
        ("memory_add", {"text": "x", "space": "\x00"}),
        ("memory_search", {"query": "x", "k": 0}),
        ("memory_search", {"query": "x", "space": "nobody"}),
        ("memory_get", {"id": "7"}),
        ("memory_get", {"id": str(uuid.UUID(int=7))}),
        ("memory_forget", {"ids": []}),
        ("memory_list", {"cursor": "x"}),
        ("memory_dance", {}),
        ("memory_search", {"query": "x", "filter": {"a": {"like": 1}}}),
    ],
)
def test_what_cannot_be_done_is_told(memory: mnemos.Mnemos, tool: str, arguments: dict[str, Any]) -> None:
    memory.space("default")
    result = call_tool(memory, tool, arguments)
    assert result.is_error
    assert result.content[0].text
    assert "Traceback" not in result.content[0].text
    assert memory.space("default").list() == []


def test_a_new_memory_is_empty_and_no_mistake(memory: mnemos.Mnemos) -> None:
    assert call_tool(memory, "memory_search", {"query": "x"}).structured_content == {"hits": []}
    assert call_tool(memory, "memory_list", {}).structured_content == {"memories": [], "cursor": None}
    told = call_tool(memory, "memory_context", {"query": "x"})
    assert (told.content[0].text, told.structured_content["sources"]) == ("Nothing is known about this.", [])
    assert memory.spaces() == [], "reading makes no space"


def test_unexpected_errors_tell_nothing(memory: mnemos.Mnemos, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("/secret/path")

    monkeypatch.setattr("mnemos.kernel.space.Space.add", broken)
    result = call_tool(memory, "memory_add", {"text": "x"})
    assert result.is_error
    assert "secret" not in result.content[0].text
    assert "/secret/path" in caplog.text


def test_the_tools_are_those_of_the_contract() -> None:
    assert [tool.name for tool in TOOLS] == NAMES
