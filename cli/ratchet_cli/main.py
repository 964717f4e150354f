"""The `ratchet` command."""

from __future__ import annotations

from importlib import import_module

import click

# Module and name. Imported when asked for: a person waits for `ratchet token`, and most of the
# others need the whole service or the SDK.
_COMMANDS = {
    "apps": ("apps", "apps_group"),
    "bench": ("bench", "bench_command"),
    "explain": ("explain", "explain_command"),
    "keys": ("keys", "keys_group"),
    "local": ("stack", "local_command"),
    "login": ("client", "login_command"),
    "logout": ("client", "logout_command"),
    "sessions": ("sessions", "sessions_group"),
    "status": ("stack", "status_command"),
    "sweep": ("sweep", "sweep_command"),
    "token": ("client", "token_command"),
    "users": ("users", "users_group"),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        cmd_name: str,
    ) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"ratchet_cli.{module}"), name)
        return command


@click.group(cls=_Commands)
@click.version_option(package_name="ratchet-cli")
def cli() -> None:
    """Run Ratchet on this machine, look after what it keeps, and sign in to it."""
