"""The command line: serve a portal until it is stopped, and print how to connect to it."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bitrix24_sandbox import datafile
from bitrix24_sandbox.checks import BadInputError
from bitrix24_sandbox.limits import OPERATING_LIMIT_S
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.seed import default_seed_data, large_dataset
from bitrix24_sandbox.server import SandboxServer, check_loopback
from bitrix24_sandbox.settings import ACCEPTED, Settings, change

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bitrix24_sandbox.models import SeedData

PROGRAM = "bitrix24-sandbox"
_SETTINGS = (
    "language", "auth_statuses", "plan", "rate", "burst", "operating_limit_s", "latency_ms", "command_ms",
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "check":
        # Its HTTP library is not needed to serve.
        from bitrix24_sandbox.check import command

        return command.run(options)
    if (options.certfile is None) != (options.keyfile is None):
        parser.error("--certfile and --keyfile go together")
    if options.meetings is not None and options.data is not None:
        parser.error("--meetings does not go with --data")
    try:
        seed_data = _seed_data(options.data, options.seed, options.meetings)
    except BadInputError as error:
        parser.error(f"--data {options.data}: {error}")
    try:
        settings = change(Settings(), {name: getattr(options, name) for name in _SETTINGS})
    except BadInputError as error:
        parser.error(f"--{error.field.replace('_', '-')}: got {error.value!r}; accepted: {error.accepted}")
    portal = Portal(seed_data, settings)
    server = SandboxServer(
        portal,
        host=options.host,
        port=options.port,
        certfile=options.certfile,
        keyfile=options.keyfile,
        log=_log if options.verbose else None,
    )
    try:
        with _stop_event() as stop, server:
            print(_greeting(server), flush=True)
            stop.wait()
    except OSError as error:
        parser.error(f"cannot serve on {options.host}, port {options.port}: {error.strerror or error}")
    return 0


@contextmanager
def _stop_event() -> Iterator[threading.Event]:
    """Yield an event that the signals to stop set."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="A local stand-in for a Bitrix24 portal.")
    parser.add_argument("--host", type=_loopback, default="127.0.0.1", help="loopback address to listen on")
    parser.add_argument("--port", type=_port, default=0, help="port to listen on; 0 takes a free one")
    seed_data = parser.add_mutually_exclusive_group()
    seed_data.add_argument("--data", type=Path, help="YAML or JSON file with people and events")
    seed_data.add_argument("--seed", type=int, default=1, help="picks the built-in seed data's meetings")
    parser.add_argument(
        "--meetings", type=_meetings, help="serve the built-in people with so many meetings, all inviting user 1"
    )
    parser.add_argument("--language", choices=ACCEPTED["language"], default="en", help="of error texts")
    parser.add_argument(
        "--auth-statuses",
        choices=ACCEPTED["auth_statuses"],
        default="module",
        help="HTTP statuses of authorisation errors: as portals send them, or as documented",
    )
    _add_limits(parser.add_argument_group("limits, all off by default"))
    parser.add_argument("--certfile", type=Path, help="serve TLS with this certificate")
    parser.add_argument("--keyfile", type=Path, help="key of the certificate")
    parser.add_argument("--verbose", action="store_true", help="log requests, without secrets")
    _add_check(parser.add_subparsers(dest="command", metavar="check", title="without it, a portal is served"))
    return parser


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    about = "Compare a real portal with what this project believes of portals."
    check = commands.add_parser(
        "check", help="compare a real portal with this one", description=about,
        epilog="The webhook is read from BITRIX24_WEBHOOK or asked for; that of another person of the same portal, "
        "for the facts that need two, from BITRIX24_SECOND_WEBHOOK.",
    )  # fmt: skip
    check.add_argument("--scratch", action="store_true", help="make meetings of its own, long over, and remove them")
    check.add_argument("--yes", action="store_true", help="do not ask before it begins")
    check.add_argument(
        "--connection", choices=["-"], help="read the webhook from an Airflow connection, JSON on standard input"
    )
    check.add_argument("--report", type=Path, metavar="FILE", help="write a report that may be shown in public")
    check.add_argument("--record", type=Path, metavar="DIR", help="write the replies, redacted like the report")


def _add_limits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--plan", choices=ACCEPTED["plan"], default="none",
        help="requests per address as in the cloud: standard 2/s after 50 at once, enterprise 5/s after 250; "
        f"with {OPERATING_LIMIT_S:.0f} s of operating time per method",
    )  # fmt: skip
    group.add_argument("--rate", type=float, help="own number of requests per second")
    group.add_argument("--burst", type=int, help="own number of requests at once")
    group.add_argument(
        "--operating-limit-s", type=float, nargs="?", const=OPERATING_LIMIT_S,
        help=f"operating time per method in ten minutes ({OPERATING_LIMIT_S:.0f} when no number is given)",
    )  # fmt: skip
    group.add_argument("--latency-ms", type=float, default=0, help="what every request takes")
    group.add_argument("--command-ms", type=float, default=0, help="what every call or command of a batch takes")


def _loopback(host: str) -> str:
    try:
        check_loopback(host)
    except ValueError as refusal:
        raise argparse.ArgumentTypeError(str(refusal)) from None
    return host


def _meetings(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of meetings; accepted: 1 to 1000000")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; accepted: 0 to 65535")
    return int(text)


def _seed_data(data: Path | None, seed: int, meetings: int | None) -> SeedData:
    if data is not None:
        return datafile.load(data)
    return default_seed_data(seed) if meetings is None else large_dataset(meetings, seed=seed)


def _greeting(server: SandboxServer) -> str:
    readers = [person.id for person in server.portal.book.people.values() if person.webhook is not None]
    lines = [f"Sandbox portal: {server.url}/", ""]
    if readers:
        user_id = readers[0]
        lines += [
            "Connection for Airflow, any one of:",
            f"  export AIRFLOW_CONN_BITRIX24_DEFAULT='{server.connection_json(user_id)}'",
            f"  export AIRFLOW_CONN_BITRIX24_DEFAULT='{server.connection_uri(user_id)}'",
            "or in Airflow's connection form, as the Webhook URL:",
            f"  {server.webhook_url(user_id)}",
        ]
    else:
        lines.append("No person in the seed data has a webhook, so there is no connection to show.")
    return "\n".join([*lines, "", *_oauth(server), "", "Stop with Ctrl+C."])


def _oauth(server: SandboxServer) -> list[str]:
    application = server.portal.auth_server
    return [
        "OAuth: one application is registered, with the key (client_secret)",
        f"  {application.client_secret}",
        "The provider's command asks for it, and makes a connection:",
        f"  python -m airflow_provider_b24cal.oauth --portal {server.url} --auth-server {server.url} \\",
        f"      --client-id {application.client_id}",
        "Without the provider, open the first address in a browser, and exchange its code at the second:",
        f"  {server.url}/oauth/authorize/?client_id={application.client_id}&state=any",
        f"  {server.url}/oauth/token/",
    ]


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
