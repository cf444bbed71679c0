"""A command group that imports a command only when it is run.

The table says everything that `--help` shows, so that listing forty commands costs no import.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass

import click
import typer
from typer.core import TyperGroup


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the command table. `target` is "module:app" with `app` a `typer.Typer`."""

    target: str
    help: str
    panel: str
    hidden: bool = False


class _Stub(click.Command):
    """Stands for a command in the listing; never run."""

    def __init__(self, name: str, entry: Entry) -> None:
        super().__init__(name, help=entry.help, short_help=entry.help, hidden=entry.hidden)
        self.rich_help_panel = entry.panel


class LazyGroup(TyperGroup):
    """Subclass it with a `table`; aliases map hidden second names to first ones."""

    table: dict[str, Entry] = {}  # noqa: RUF012 - click's own way to configure a group

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.table, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = self.table.get(cmd_name)
        return _Stub(cmd_name, entry) if entry else super().get_command(ctx, cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if isinstance(command, _Stub) and name:
            command = load(name, self.table[name])
        return name, command, rest


def load(name: str, entry: Entry) -> click.Command:
    """The real command behind a table entry."""
    module, _, attribute = entry.target.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    command: click.Command = typer.main.get_command(app)
    command.name = name
    return command
