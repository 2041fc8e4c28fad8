"""From an authorisation code to a connection: ``python -m airflow_provider_b24cal.oauth``.

It prints the URL at which a person authorises the application, reads the URL that the portal then redirects to,
exchanges the code in it for the first pair of tokens, and prints the connection. Secrets are read from the standard
input, since arguments get into the shell's history and the list of processes.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import secrets
import sys
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Final, TextIO
from urllib.parse import parse_qs, urlencode, urlsplit

from airflow_provider_b24cal.bitrix24.auth.credentials import AccessToken, Endpoint, Secret, parse_origin
from airflow_provider_b24cal.bitrix24.auth.tokens import KNOWN_SERVERS, Application, Grant, TokenPair, usual_server
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, InvalidArgumentError
from airflow_provider_b24cal.bitrix24.settings import Settings, read_settings
from airflow_provider_b24cal.client.requests_transport import RequestsTransport

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROGRAM = "python -m airflow_provider_b24cal.oauth"

_NO_PAIR: Final = TokenPair(Secret("none-yet"), Secret("none-yet"))


@dataclass(frozen=True, slots=True)
class AuthorizationResponse:
    """A portal's response after a person has authorised an application.

    :param server: origin of the authorisation server named in it.
    """

    code: Secret
    server: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0, 1 for a refusal, 2 for wrong arguments."""
    options = _parser().parse_args(arguments)
    try:
        origin = parse_origin(options.portal, None, allow_http=False, field="--portal")
        server = options.auth_server
        if server is not None:
            server = parse_origin(server, None, allow_http=False, field="--auth-server")
        # Everything is checked before there is a code, which can be used once.
        with _output(options.output) as output:
            secret = Secret(_read("Key of the application (client_secret): "))
            application = Application(options.client_id, secret, server, usual_server(origin))
            extra = make_connection(origin, application, _NO_PAIR, options.token_store)["extra"]
            read_settings(host=origin, login=None, password=None, port=None, extra=extra)
            state = secrets.token_urlsafe(16)
            asked = urlencode({"client_id": options.client_id, "state": state})
            _say("Open this URL in a browser, as the user that tasks are to act as:\n")
            _say(f"  {origin}/oauth/authorize/?{asked}\n")
            _say("Then paste the URL that you were redirected to, or the code in it. A code is valid for 30 seconds.")
            response = read_response(_read("URL or code: "), state, server)
            pair = exchange(application, response, origin)
            connection = make_connection(origin, application, pair, options.token_store)
            print(json.dumps(connection if options.output is None else {options.conn_id: connection}), file=output)
        if options.output is not None:
            _say(f"Written to {options.output}; read it with `airflow connections import`, and delete it.")
    except (Bitrix24Error, OSError) as error:
        _say(f"{PROGRAM}: {error}")
        return 1
    except (EOFError, KeyboardInterrupt):
        _say(f"{PROGRAM}: nothing was entered")
        return 1
    return 0


def read_response(text: str, state: str, server: str | None = None) -> AuthorizationResponse:
    """Return the response in a pasted text.

    :param text: a code, or the whole URL that the portal has redirected to.
    :param state: the random text of this run; a URL with another one belongs to another run.
    :param server: the authorisation server given as an option.
    :raises InvalidArgumentError: there is no code in it, or it belongs to another run. The code is not repeated.
    """
    if "://" not in text:
        if text.isascii() and text.isalnum():
            return AuthorizationResponse(Secret(text))
        raise InvalidArgumentError("Invalid input: expected a code, or the URL with the code in it.")
    try:
        given = {name: values[0] for name, values in parse_qs(urlsplit(text).query).items()}
    except ValueError:
        given = {}
    if not given.get("code"):
        raise InvalidArgumentError("Invalid URL: expected the one that the portal redirected to, with a code in it.")
    if given.get("state") != state:
        raise InvalidArgumentError(
            "Invalid URL: expected the response to the URL printed just now; this one belongs to another."
        )
    named = f"https://{given['server_domain']}" if given.get("server_domain") else None
    if server is None and named is not None and named not in KNOWN_SERVERS:
        raise InvalidArgumentError(
            f"The portal names the authorisation server {named.removeprefix('https://')!a}, which is not one of "
            "Bitrix24's. If you trust it with the application's key, pass it as --auth-server."
        )
    return AuthorizationResponse(Secret(given["code"]), named)


def exchange(application: Application, response: AuthorizationResponse, origin: str) -> TokenPair:
    """Return the first pair of tokens for a code.

    :raises Bitrix24Error: the authorisation server cannot be reached, or refuses.
    """
    empty = Secret("")
    grant = Grant(application, TokenPair(empty, empty, response.server if response.server in KNOWN_SERVERS else None))
    settings = Settings(Endpoint(origin, AccessToken(empty))).for_auth_server(grant)
    with closing(RequestsTransport(settings)) as transport:
        reply = transport.send(application.exchange(response.code.reveal(), response.server))
    return application.read(reply, response.code, time())


def make_connection(origin: str, application: Application, pair: TokenPair, token_store: str | None) -> dict[str, Any]:
    """Return a connection in the form that Airflow reads as JSON."""
    server = application.auth_server or pair.auth_server
    extra = {
        "auth": "oauth",
        "client_id": application.client_id,
        "client_secret": application.client_secret.reveal(),
        "access_token": pair.access.reveal(),
        "refresh_token": pair.refresh.reveal(),
        **({"auth_server": server} if server and server != application.usual_server else {}),
        **({"token_store": token_store} if token_store else {}),
    }
    return {"conn_type": "bitrix24", "host": origin, "extra": extra}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Make a connection for an OAuth application.")
    parser.add_argument("--portal", required=True, help="such as example.bitrix24.com")
    parser.add_argument("--client-id", required=True, help="such as local.0123456789abcd.01234567")
    parser.add_argument("--auth-server", help="where tokens are given out; by default as the portal says")
    parser.add_argument("--token-store", help="variable, file:<folder> or a dotted path; by default variable")
    parser.add_argument("--output", type=Path, help="write to this new file instead of printing secrets")
    parser.add_argument("--conn-id", default="bitrix24_default", help="name of the connection in that file")
    return parser


def _read(prompt: str) -> str:
    """Read a line without showing it; from a pipe as it comes."""
    line = getpass.getpass(prompt, stream=sys.stderr) if sys.stdin.isatty() else sys.stdin.readline()
    if not line.strip():
        raise EOFError
    return line.strip()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def _output(path: Path | None) -> Iterator[TextIO]:
    """Open a new file, or the standard output; the file is removed when nothing comes of it."""
    if path is None:
        yield sys.stdout
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
