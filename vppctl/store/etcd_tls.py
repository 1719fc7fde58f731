"""Finds out why etcd and this client cannot agree on TLS, on a second connection. Loaded after a failure alone."""

from __future__ import annotations

import os
import socket
import ssl

from vppctl.files import read_whole
from vppctl.store.settings import StoreSettings, host_and_port

TIMEOUT = 1.0
"""Seconds that each step of the second connection may take."""
_ALERTS = {
    "CERTIFICATE_REQUIRED": "it asks for a client certificate; see --cert and --key",
    "UNKNOWN_CA": "it does not know the CA of our client certificate; see --cert",
    "CERTIFICATE_EXPIRED": "our client certificate has expired; renew --cert",
    "BAD_CERTIFICATE": "{bad}",
    "CERTIFICATE_UNKNOWN": "it refuses our client certificate; see --cert and --key",
    "KEY_VALUES_MISMATCH": "{cert} and {key} do not belong together; see --cert and --key",
}
"""Of OpenSSL's reasons, by a part of their names (openssl/sslerr.h)."""
_PLAIN = "it does not speak TLS; write http:// or etcd://, and leave out the certificates"


def tls_problem(endpoint: str, settings: StoreSettings) -> str:
    """The reason and its fix; empty when TLS is not the reason."""
    if endpoint.startswith("unix:/"):
        return ""
    if not settings.secure:
        return "it speaks TLS and this client does not; write https://, and --cacert" if _speaks_tls(endpoint) else ""
    context = ssl.create_default_context()
    for option, path in (("--cacert", settings.cacert), ("--cert", settings.cert)):
        try:
            # The library opens them by name, and would wait for a FIFO.
            for name in filter(None, (path, settings.key if option == "--cert" else "")):
                read_whole(name)
            if path and option == "--cacert":
                context = ssl.create_default_context(cafile=path)
            elif path:
                context.load_cert_chain(path, settings.key, password=_no_password)
        except ssl.SSLError as error:
            if "KEY_VALUES_MISMATCH" in (error.reason or ""):
                return _ALERTS["KEY_VALUES_MISMATCH"].format(cert=settings.cert, key=settings.key)
            which = f"{path} or {settings.key}" if option == "--cert" else path
            return f"{which} is no PEM file that can be read without a password; see {option}"
        except OSError as error:
            return f"{path}: cannot be read: {error.strerror}; see {option}"
    context.set_alpn_protocols(["h2"])
    host, port = host_and_port(endpoint)
    try:
        with (
            socket.create_connection((host, port), TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            # A server refuses a client's certificate only after the handshake (RFC 8446, section 4.4.2).
            secure.recv(1)
    except ssl.SSLCertVerificationError as error:
        return _unverified(error, host)
    except ssl.SSLError as error:
        return _alert(error.reason or "", endpoint, settings)
    except OSError:
        # A server without TLS may end the connection at its first message, before or after it was read.
        return _PLAIN if _speaks_http2(endpoint) else ""
    return ""


def _unverified(error: ssl.SSLCertVerificationError, host: str) -> str:
    text = error.verify_message
    if "expired" in text:
        return f"its certificate has expired; renew it on the server ({host})"
    if "mismatch" in text or "not valid for" in text:
        return f"its certificate is not for {host}; use a name that the certificate has"
    if "not yet valid" in text:
        return "its certificate is not valid yet; see the clocks of both hosts"
    return f"its certificate is not signed by a CA that is known here ({text}); see --cacert"


def _alert(reason: str, endpoint: str, settings: StoreSettings) -> str:
    if "ALERT" not in reason and _speaks_http2(endpoint):
        return _PLAIN
    found = next((text for part, text in _ALERTS.items() if part in reason), "")
    if not found:
        return f"the TLS handshake failed ({reason.lower().replace('_', ' ')}); see --cacert, --cert and --key"
    # Servers in Go have one alert for a certificate that is missing and for one that they do not accept.
    bad = f"it refuses the client certificate {settings.cert}; is it signed by the server's CA and still valid?"
    return found.format(bad=bad if settings.cert else _ALERTS["CERTIFICATE_REQUIRED"])


def _speaks_tls(endpoint: str) -> bool:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(host_and_port(endpoint), TIMEOUT) as plain, context.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        # One that wants a certificate speaks it, too.
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def _speaks_http2(endpoint: str) -> bool:
    """Whether it answers the beginning of a connection without TLS (RFC 9113, section 3.4)."""
    try:
        with socket.create_connection(host_and_port(endpoint), TIMEOUT) as plain:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            return len(plain.recv(9)) == 9
    except OSError:
        return False


def _no_password() -> str:
    """For a key with a password, which would be asked for on the terminal."""
    raise OSError(os.strerror(1))
