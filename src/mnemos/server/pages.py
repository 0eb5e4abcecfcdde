"""Two plain HTML pages that need nothing from elsewhere: what runs here, and the reference of the REST interface."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import FastAPI

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:3rem auto;padding:0 1rem;color:#1c2733;background:#fff}"
    "a{color:#0b62a8}code,pre{font:14px/1.5 ui-monospace,monospace;background:#f1f4f7;border-radius:4px;padding:.1rem .3rem}"
    "pre{padding:.8rem;overflow:auto}td{padding:.2rem 1rem .2rem 0;vertical-align:top}h2{margin-top:2.2rem;font-size:1.1rem}"
    "@media(prefers-color-scheme:dark){body{color:#dde5ec;background:#12181f}a{color:#7fbdf0}code,pre{background:#1e2731}}"
)


def _page(title: str, body: str) -> str:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>{body}</body></html>'


def home(app: FastAPI) -> str:
    """What runs here. It names no file, no space and no principal: it can be read without a token."""
    guarded = app.state.guarded
    links = (
        ("/docs", "the REST interface, route by route"),
        ("/openapi.json", "the same for programs (OpenAPI 3.1)"),
        ("/metrics", "counts and latencies for Prometheus" + (" (needs a token)" if guarded else "")),
        ("/healthz", "whether the process answers"),
        ("/readyz", "whether the store answers"),
    )
    rows = "".join(f'<tr><td><a href="{path}">{path}</a></td><td>{escape(what)}</td></tr>' for path, what in links)
    proxy = "forwards to the configured upstream" if app.state.upstream else "needs an upstream: set MNEMOS_UPSTREAM_URL"
    curl = f"""curl{' -H "Authorization: Bearer $TOKEN"' if guarded else ""} -H "Content-Type: application/json" \\\n     -d """
    example = (
        f"""{curl}'{{"text": "I moved to Lisbon.", "author": "Alice"}}' BASE/v1/spaces/alice/memories\n\n"""
        f"""{curl}'{{"query": "Where does Alice live?"}}' BASE/v1/spaces/alice/search"""
    )
    who = "Requests need a token." if guarded else "It answers this machine only."
    return _page(
        "Mnemos",
        f"<p>A memory for AI runs here, version {escape(app.version)}. {who}</p>"
        f"<table>{rows}<tr><td><code>/mcp</code></td><td>the tools for assistants (Model Context Protocol, streamable HTTP)</td></tr>"
        f"<tr><td><code>/v1/chat/completions</code></td><td>OpenAI-compatible proxy that remembers; {proxy}</td></tr></table>"
        f"<h2>Try it</h2><pre>{escape(example)}</pre><p>BASE is this page's address without the slash at its end.</p>",
    )


def docs(api: dict[str, Any]) -> str:
    """The OpenAPI document as a page to read."""
    parts = []
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            statuses = ", ".join(sorted(operation["responses"]))
            fields = "".join(_parameter(parameter) for parameter in operation.get("parameters", ()))
            body = operation.get("requestBody", {}).get("content", {})
            takes = "".join(f"<tr><td>body</td><td>{escape(media)}: {_schema(sent['schema'])}</td></tr>" for media, sent in body.items())
            parts.append(
                f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(operation.get('description', ''))}</p>"
                f"<table>{fields}{takes}<tr><td>answers</td><td>{statuses}</td></tr></table>"
            )
    parts.append("<h1>What is sent and answered</h1>")
    for name, schema in sorted(api["components"]["schemas"].items()):
        rows = "".join(
            f"<tr><td><code>{escape(field)}</code>{'' if field in schema.get('required', ()) else ' (optional)'}</td>"
            f"<td>{_schema(about)} {escape(about.get('description', ''))}</td></tr>"
            for field, about in schema.get("properties", {}).items()
        )
        parts.append(f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{escape(schema.get("description", ""))}</p><table>{rows}</table>')
    return _page("Mnemos: the REST interface", "".join(parts))


def _parameter(parameter: dict[str, Any]) -> str:
    need = "" if parameter.get("required") else ", optional"
    return (
        f"<tr><td><code>{escape(parameter['name'])}</code> ({parameter['in']}{need})</td>"
        f"<td>{_schema(parameter['schema'])} {escape(parameter.get('description', ''))}</td></tr>"
    )


def _schema(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_schema(part) for part in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_schema(schema.get('items', {}))}"
    if "enum" in schema:
        return " or ".join(escape(repr(value)) for value in schema["enum"])
    return escape(str(schema.get("format") or schema.get("type") or "any value"))
