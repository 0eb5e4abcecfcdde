"""Commands for who may do what: space (its settings), acl (the rules of one memory), roles."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
import typer
from rich.table import Table
from rich.text import Text

from mnemos.base.errors import Invalid, NotFound
from mnemos.cli.fields import IdArgument
from mnemos.cli.filters import json_object
from mnemos.cli.output import clean, counted, one_line, print_json, rules_text, size, table
from mnemos.cli.session import Session, command

_RULES = "Settings, each as a JSON object"


def _setting(option: str, help: str) -> Any:
    return typer.Option(option, help=help, metavar="JSON", rich_help_panel=_RULES)


@command
def space(
    session: Session,
    name: Annotated[str | None, typer.Argument(help="The space; else the one that --space names.", metavar="NAME")] = None,
    acl: Annotated[
        str | None, _setting("--acl", 'Who else may read, write, share, derive, forget: {"read": ["bob", "role:editors"], "write": ["*"]}')
    ] = None,
    deny: Annotated[str | None, _setting("--deny", "Who may not after all, in the same form.")] = None,
    clearance: Annotated[
        str | None, _setting("--clearance", 'Up to which label others read: {"role:staff": "internal"}; whom it does not name: public')
    ] = None,
    licences: Annotated[str | None, _setting("--licences", '{"bob": {"reads": 100, "until": "2030-01-01"}}')] = None,
    quota: Annotated[str | None, _setting("--quota", '{"cubes": 10000, "bytes": 50000000}')] = None,
    rate: Annotated[str | None, _setting("--rate", 'For each caller: {"reads_per_minute": 60, "writes_per_minute": 10}')] = None,
    lifecycle: Annotated[str | None, _setting("--lifecycle", 'How `mnemos tend` treats it: {"archive_after_days": 90}')] = None,
    read_only: Annotated[bool | None, typer.Option("--read-only/--writable", help="Forbid changes to everybody, or allow them again.")] = None,
    detect: Annotated[bool | None, typer.Option("--detect/--no-detect", help="Label what is written by what is sensitive in it.")] = None,
    strategy: Annotated[str | None, typer.Option("--strategy", help="How it remembers (`mnemos strategies`).")] = None,
) -> None:
    """Show the settings of a space, or change those that are given.

    {} takes one away; a clearance is lifted by {"*": "secret"}.
    """
    from mnemos.kernel.rights.space_settings import described

    given = {"acl": acl, "deny": deny, "clearance": clearance, "licences": licences, "quota": quota, "rate": rate, "lifecycle": lifecycle}
    settings: dict[str, Any] = {key: json_object(value, f"--{key}") for key, value in given.items() if value is not None}
    settings |= {key: value for key, value in (("read_only", read_only), ("detect", detect), ("strategy", strategy)) if value is not None}
    session.space = name if name is not None else session.space
    with session.open() as mem:
        chosen = session.view(mem)
        found = described(mem.space(chosen.name, **settings) if settings else chosen)
    if session.json:
        print_json(found)
        return
    rows = [(key, _shown(key, value)) for key, value in found.items() if key != "name"]
    if not session.out.is_terminal:
        table(session.out, ("setting", "value"), rows)
        return
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in rows:
        grid.add_row(key.replace("_", " "), Text(clean(value), style="" if value != "–" else "dim"))
    session.out.print(Text(f"space {one_line(found['name'])}", style="bold cyan"))
    session.out.print(grid)


def _shown(key: str, value: Any) -> str:
    """A setting for reading; of the lifecycle what differs from the default."""
    from mnemos.kernel.life.tending import LifecyclePolicy

    if key == "owner":
        return one_line(value) if value is not None else "whoever owns the file"
    if key == "read_only":
        return "yes" if value else "no"
    if key == "holds":
        return f"{counted(value['cubes'], 'memory', 'memories')}, {size(value['bytes'])} of text"
    if key in ("acl", "deny"):
        return rules_text(value) or "–"
    if key == "lifecycle":
        value = {name: chosen for name, chosen in value.items() if chosen != LifecyclePolicy().as_json()[name]}
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode() if value else "–"


@command
def acl(
    session: Session,
    id: IdArgument,
    rules: Annotated[
        str | None, typer.Argument(help='Its rules from now on: \'{"read": ["bob", "role:editors"]}\'; {} takes them away.', metavar="RULES")
    ] = None,
) -> None:
    """Show or set the rules of a single memory.

    They only narrow those of its space: whom "read" leaves out does not see it.
    """
    given = None if rules is None else json_object(rules, "RULES")
    with session.open() as mem:
        chosen = session.view(mem)
        if given is not None:
            chosen.set_acl(id, given)
        found = chosen.acl(id)
    if session.json:
        print_json({"id": id, "acl": found})
    else:
        table(session.out, ("verb", "who"), [(verb, ", ".join(names) or "nobody") for verb, names in found.items()])
        if not found and session.out.is_terminal:
            session.tell("It has no rules of its own: those of its space hold.")


@command
def roles(
    session: Session,
    role: Annotated[str | None, typer.Argument(help="One role; without it all are listed.", metavar="ROLE")] = None,
    members: Annotated[list[str] | None, typer.Argument(help="Its members from now on, all of them.", metavar="MEMBER")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the role: whoever had it has it no more.")] = False,
) -> None:
    """List roles, or give a role its members. Rules name it "role:ROLE"."""
    if remove and (role is None or members):
        raise Invalid("--remove: name one role, and no members")
    with session.open() as mem:
        if role is not None and (remove or members):
            if remove and role not in mem.roles():
                raise _no_role(role)
            mem.set_role(role, None if remove else members)
        found = mem.roles()
    if role is not None and not remove:
        if role not in found:
            raise _no_role(role)
        found = {role: found[role]}
    if session.json:
        print_json({"roles": [{"role": name, "members": names} for name, names in found.items()]})
    else:
        table(session.out, ("role", "members"), [(name, ", ".join(names)) for name, names in found.items()], flexible="members")


def _no_role(role: str) -> NotFound:
    return NotFound(f"there is no role {role!r}; `mnemos roles` lists them, and `mnemos roles ROLE MEMBER…` makes one")
