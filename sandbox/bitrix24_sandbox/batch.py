"""The ``batch`` method: up to fifty commands in one request.

Every command is ``method?query``; its parameters may refer to results of earlier commands. All errors of
commands travel inside a successful answer.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from bitrix24_sandbox import dispatch
from bitrix24_sandbox.basic_methods import any_case
from bitrix24_sandbox.errors import RestError
from bitrix24_sandbox.php import PhpArray, PhpValue, is_empty, key, to_text
from bitrix24_sandbox.phpquery import parse_str, split_command
from bitrix24_sandbox.rest import BatchMethod, Call, may

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bitrix24_sandbox.rest import Work

MAX_COMMANDS = 50
# Compared with case, so that ``BATCH`` slips through and does nest.
NOT_ALLOWED = ("batch", "download", "upload")
_REFERENCE = re.compile(r"\$\S+")
_STEP = re.compile(r"\[([^\]]*)\]")


def run_batch(call: Call) -> Work[PhpArray]:
    """Answer ``batch``, one command after the other."""
    commands = any_case(call.parameters, "cmd")
    halt = not is_empty(any_case(call.parameters, "halt"))
    maps: dict[str, PhpArray] = {name: {} for name in ("result", "error", "total", "next", "time")}
    # The counter also counts commands that are skipped for not being text.
    for number, (name, command) in enumerate(commands.items() if isinstance(commands, dict) else (), start=1):
        if number <= MAX_COMMANDS and not isinstance(command, str):
            continue
        try:
            outcome = yield from _run_command(call, number, str(command), maps)
        except RestError as error:
            maps["error"][name] = error.body()
            if halt:
                break
        else:
            maps["result"][name] = outcome.result
            maps["time"][name] = outcome.time
            for part, number_of_rows in outcome.paging.items():
                maps[str(part)][name] = number_of_rows
    return {
        "result": maps["result"],
        "result_error": maps["error"],
        "result_total": maps["total"],
        "result_next": maps["next"],
        "result_time": maps["time"],
    }


def _run_command(call: Call, number: int, command: str, maps: Mapping[str, PhpArray]) -> Work[dispatch.Outcome]:
    if number > MAX_COMMANDS:
        raise RestError("ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded")
    name, query = split_command(command)
    if name in NOT_ALLOWED:
        raise RestError("ERROR_BATCH_METHOD_NOT_ALLOWED", "Method is not allowed for batch usage")
    parameters = {field: resolve(value, maps) for field, value in parse_str(query).items()}
    method = dispatch.find(call.portal.methods, name)
    call.portal.ledger.ran(name.lower(), inner=True)
    planned = call.portal.inner_error(name.lower())
    if planned is not None:
        raise planned
    if not may(call.webhook.scopes, method):
        raise RestError("insufficient_scope", "")
    inner = replace(call, parameters=dispatch.without_reserved(parameters), start=dispatch.start_of(parameters))
    return (yield from dispatch.run(name.lower(), method, inner))


def resolve(value: PhpValue, maps: Mapping[str, PhpArray]) -> PhpValue:
    """Replace references such as ``$result[key][field]`` in a parameter.

    :param value: text, or an array of such.
    :param maps: what earlier commands have produced: ``result``, ``error``, ``total``, ``next``, ``time``.
    """
    if isinstance(value, dict):
        return {name: resolve(item, maps) for name, item in value.items()}
    if not isinstance(value, str):
        return value
    if _REFERENCE.fullmatch(value):
        return _whole(value, maps)
    return _REFERENCE.sub(lambda found: _embedded(found.group(), maps), value)


def _whole(reference: str, maps: Mapping[str, PhpArray]) -> PhpValue:
    """Resolve a parameter that is nothing but a reference; a miss yields the map of all results so far."""
    source = _source(reference, maps)
    if source is None:
        return reference
    found = _follow(reference, source)
    return maps["result"] if found is None else found


def _embedded(reference: str, maps: Mapping[str, PhpArray]) -> str:
    """Resolve a reference inside other text; a miss leaves the text as it is."""
    source = _source(reference, maps)
    found = None if source is None else _follow(reference, source)
    return reference if found is None or isinstance(found, dict) else to_text(found)


def _source(reference: str, maps: Mapping[str, PhpArray]) -> PhpArray | None:
    return maps.get(reference[1:].partition("[")[0])


def _follow(reference: str, source: PhpArray) -> PhpValue:
    found: PhpValue = source
    for step in _STEP.findall(reference):
        found = found.get(key(step)) if isinstance(found, dict) else None
    return found


METHODS = {"batch": BatchMethod((), run_batch)}
