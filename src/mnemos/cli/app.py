"""Which commands there are, in the order in which `mnemos --help` shows them."""

from __future__ import annotations

from typing import Annotated

import typer

from mnemos.cli import (
    care,
    exchanging,
    explaining,
    forgetting,
    history,
    importing,
    jobs,
    keys,
    kv,
    lives,
    pipelines,
    procedures,
    program,
    reading,
    rules,
    services,
    strategies,
    vouching,
    writing,
)
from mnemos.cli.session import EmbedderOption, KeyOption, Session, SpaceOption, StoreOption

app = typer.Typer(
    name="mnemos",
    help="A memory for AI: it remembers, answers with its sources, and can prove what it has forgotten.",
    epilog="Start with: mnemos demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_COMMANDS = {
    "Start": (("demo", services.demo), ("init", writing.init), ("doctor", care.doctor)),
    "Remember": (("add", writing.add), ("import", importing.import_)),
    "Ask": (
        ("search", reading.search),
        ("context", reading.context),
        ("show", reading.show),
        ("list", reading.list_),
        ("explain", explaining.explain),
    ),
    "Correct": (
        ("update", writing.update),
        ("history", reading.history),
        ("rollback", writing.rollback),
        ("rewind", history.rewind),
        ("merge", writing.merge),
        ("supersede", writing.supersede),
        ("freeze", lives.freeze),
        ("unfreeze", lives.unfreeze),
    ),
    "Set aside and bring back": (
        ("archive", lives.archive),
        ("restore", lives.restore),
        ("quarantine", lives.quarantine),
        ("release", lives.release),
        ("tend", lives.tend),
        ("consolidate", strategies.consolidate),
    ),
    "Forget and prove": (
        ("forget", forgetting.forget),
        ("verify", care.verify),
        ("signing-key", vouching.signing_key),
        ("checkpoint", vouching.checkpoint),
        ("audit", vouching.audit),
    ),
    "Share": (
        ("space", rules.space),
        ("acl", rules.acl),
        ("roles", rules.roles),
        ("export", exchanging.export),
        ("diff", exchanging.diff),
        ("sync", exchanging.sync),
        ("serve", services.serve),
        ("mcp", services.mcp),
    ),
    "Seal": (("new-key", keys.new_key), ("seal", keys.seal), ("rotate-keys", keys.rotate_keys)),
    "Know": (("spaces", reading.spaces), ("strategies", strategies.strategies), ("redundancy", strategies.redundancy), ("bench", services.bench)),
}

_SETTINGS = {"bench": {"ignore_unknown_options": True}}
"""A benchmark may take options of its own: `bench` reads those that it does not know as the benchmark's."""

for _panel, _members in _COMMANDS.items():
    for _name, _function in _members:
        app.command(_name, rich_help_panel=_panel, context_settings=_SETTINGS.get(_name))(_function)
for _panel, _name, _group in (
    ("Correct", "snapshots", history.snapshots), ("Correct", "branches", history.branches),
    ("Know", "pipelines", pipelines.app), ("Know", "program", program.app),
    ("Know", "procedures", procedures.app), ("Know", "jobs", jobs.app), ("Know", "kv", kv.app),
):  # fmt: skip
    app.add_typer(_group, name=_name, rich_help_panel=_panel)


def _version(wanted: bool) -> None:
    if wanted:
        import mnemos

        typer.echo(f"mnemos {mnemos.__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    store: StoreOption = None,
    space: SpaceOption = None,
    embedder: EmbedderOption = None,
    key_file: KeyOption = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")] = False,
) -> None:
    """A memory for AI: it remembers, answers with its sources, and can prove what it has forgotten."""
    ctx.ensure_object(Session).take(store, space, embedder, key_file)
