"""Reading a REST request: address, suffix, and parameters from path, body and query.

Nothing here reports an error. A body the portal cannot read is dropped, and the method runs without it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import TYPE_CHECKING

from bitrix24_sandbox.phpjson import decode_array
from bitrix24_sandbox.phpquery import parse_str, register, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitrix24_sandbox.php import PhpArray

_JSON_TYPE = re.compile(r"application/json|[^;]*\+json", re.IGNORECASE)
_FORMATS = ("json", "xml")


@dataclass(frozen=True)
class RestRequest:
    """A request to a method.

    :param method: lower-cased, without the suffix; empty when the address has no such shape.
    :param form: of the answer: ``json`` or ``xml``.
    :param parameters: everything sent, credentials of the path included as ``aplogin`` and ``ap``.
    :param address: scheme, host and port at which the portal is asked.
    :param session: value of the session cookie.
    """

    method: str
    form: str
    parameters: PhpArray
    address: str = ""
    session: str = ""


def read(verb: str, path: str, query: str, content_type: str, body: bytes, authorization: str = "") -> RestRequest:
    """Return the request as the portal understands it.

    :param path: the decoded path after ``/rest/``.
    :param query: the encoded query.
    :param authorization: the header of this name.
    """
    credentials, method, form = _read_path(path)
    kind, _, token = authorization.partition(" ")
    if kind.lower() == "bearer" and token:
        credentials["auth"] = token.strip()
    return RestRequest(method, form, {**read_parameters(verb, query, content_type, body), **credentials})


def read_parameters(verb: str, query: str, content_type: str, body: bytes) -> PhpArray:
    """Return the parameters of query and body; the body wins."""
    return {**parse_str(query), **(_read_body(content_type, body) if verb == "POST" else {})}


def _read_path(path: str) -> tuple[PhpArray, str, str]:
    # A portal takes several slashes for one.
    parts = [part for part in path.split("/") if part]
    credentials: PhpArray = {}
    if len(parts) == 3:
        credentials = {"aplogin": parts[0], "ap": parts[1]}
    elif len(parts) != 1:  # no method, or a path of another shape
        return {}, "", "json"
    method = parts[-1].lower()
    name, _, suffix = method.rpartition(".")
    return (credentials, name, suffix) if suffix in _FORMATS else (credentials, method, "json")


def _read_body(content_type: str, body: bytes) -> PhpArray:
    kind = content_type.partition(";")[0].strip().lower()
    if _JSON_TYPE.fullmatch(kind):
        return decode_array(body)
    if kind == "application/x-www-form-urlencoded":
        return parse_str(text_of(body))
    if kind == "multipart/form-data":
        return register(_form_fields(content_type, body))
    return {}


def _form_fields(content_type: str, body: bytes) -> Iterator[tuple[str, str]]:
    header = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    parts = BytesParser(policy=compat32).parsebytes(header + body).get_payload()
    for part in parts if isinstance(parts, list) else ():
        if not isinstance(part, Message):
            continue
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        # Uploaded files do not become parameters.
        if isinstance(name, str) and isinstance(content, bytes) and part.get_filename() is None:
            yield name, text_of(content)
