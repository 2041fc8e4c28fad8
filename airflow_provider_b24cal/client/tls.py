"""TLS: the certificates to trust, and which errors mean that a connection was never secured."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from airflow_provider_b24cal.bitrix24.validation import invalid_field

_HANDSHAKE: Final = frozenset(
    {
        "CERTIFICATE_VERIFY_FAILED",
        "NO_PROTOCOLS_AVAILABLE",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "TLSV1_UNRECOGNIZED_NAME",
        "UNSUPPORTED_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)


def tls_refused(problem: BaseException) -> bool:
    """Return whether the TLS handshake failed, so that nothing was sent.

    HTTP libraries wrap the reason several times, and differently for connecting and for reading.
    """
    seen: list[BaseException] = [problem]
    for error in seen:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        if isinstance(error, ssl.SSLError) and error.reason in _HANDSHAKE:
            return True
        inner = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
        seen += [other for other in inner if isinstance(other, BaseException) and other not in seen]
    return False


def make_tls(bundle: str) -> ssl.SSLContext:
    """Return a TLS context that trusts a CA bundle.

    :param bundle: a file, or a folder prepared by ``openssl rehash``.
    :raises InvalidConnectionError: there are no certificates at this path.
    """
    is_folder = Path(bundle).is_dir()
    try:
        return ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
    raise invalid_field(
        "verify",
        f"true, false, or the path of a file with certificates in PEM form; there is no CA bundle ({reason})",
        "The path may also come from REQUESTS_CA_BUNDLE.",
        value=bundle,
    )
