"""Fetches a file from an address that a stranger chose: by https, from a public host, in bounded time and space.

A host is resolved once, and only the checked addresses are connected to: a name server cannot give another answer in
between. Proxies from the environment are not used, because a proxy resolves the host itself.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from benchmark.errors import UserError
from benchmark.submission.addresses import Endpoint, check_public, check_url, resolve

CHUNK = 2**16  # bytes
SECONDS = 300.0  # for everything together
WAIT_SECONDS = 20.0  # for the next bytes
MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Network:
    """How hosts are resolved, connected to and authenticated; tests have their own."""

    resolve: Callable[[str], Sequence[Endpoint]]
    connect: Callable[[Endpoint, float], socket.socket]  # within so many seconds
    tls: Callable[[], ssl.SSLContext]


class Deadline:
    """The time at which a download must be finished, and how long to wait for the next bytes until then."""

    def __init__(self, seconds: float, wait: float) -> None:
        self.seconds = seconds
        self._ends = time.monotonic() + seconds
        self._wait = wait

    def wait(self) -> float:
        """Return how many seconds to wait at most; raises TimeoutError if none are left."""
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return min(self._wait, left)

    @property
    def over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._ends


class _Socket(ssl.SSLSocket):
    """Waits for bytes no longer than a deadline allows, however few arrive at a time."""

    deadline: Deadline

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """Receive as the base class does."""
        self.settimeout(self.deadline.wait())
        return super().recv_into(*args, **kwargs)


class _Connection(http.client.HTTPSConnection):
    """Connects only to addresses that were resolved and checked before."""

    def __init__(self, host: str, endpoints: Sequence[Endpoint], network: Network, deadline: Deadline) -> None:
        self._tls = network.tls()
        self._tls.sslsocket_class = _Socket
        super().__init__(host, context=self._tls)
        self._endpoints, self._network, self._deadline = endpoints, network, deadline

    def connect(self) -> None:
        """Connect to the first address that answers; the certificate must be the host's."""
        plain = self._reach()
        try:
            secure = self._tls.wrap_socket(plain, server_hostname=self.host, do_handshake_on_connect=False)
        except BaseException:
            plain.close()
            raise
        self.sock: _Socket = secure  # type: ignore[assignment]
        self.sock.deadline = self._deadline
        self.sock.settimeout(self._deadline.wait())
        self.sock.do_handshake()

    def _reach(self) -> socket.socket:
        refusal: OSError = OSError("it has no address")
        for endpoint in self._endpoints:
            try:
                return self._network.connect(endpoint, self._deadline.wait())
            except OSError as error:
                refusal = error
        raise refusal


def _connect(endpoint: Endpoint, seconds: float) -> socket.socket:
    # Not `socket.create_connection`, which asks the resolver again.
    plain = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        plain.settimeout(seconds)
        plain.connect(endpoint.address)
    except BaseException:
        plain.close()
        raise
    return plain


INTERNET = Network(resolve, _connect, ssl.create_default_context)


def download(
    url: str, size: int, *, seconds: float = SECONDS, wait: float = WAIT_SECONDS, network: Network = INTERNET
) -> bytes:
    """Fetch a file of at most `size` bytes by https, from a public host only; the same holds for redirects.

    Args:
        url: of the file.
        size: bytes that the file may have.
        seconds: that everything together may take.
        wait: seconds within which an answer, and each further part of it, must arrive.
        network: to fetch it from.

    Raises:
        UserError: if it is missing, too large, too slow or encoded, or has another kind of address; without a next
            step, which the caller knows.
    """
    deadline = Deadline(seconds, wait)
    try:
        for _ in range(MAX_REDIRECTS + 1):
            host = check_url(url)
            endpoints = _resolved(url, host, network, deadline)
            connection = _Connection(host, endpoints, network, deadline)
            try:
                with _answer(connection, url) as answer:
                    if answer.status not in _REDIRECTS:
                        return _content(answer, size, deadline)
                    url = urljoin(url, answer.headers.get("Location", ""))
            finally:
                connection.close()
        raise UserError(f"the address redirects more than {MAX_REDIRECTS} times")
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, UserError):
            raise
        if deadline.over:
            raise UserError(f"the download took more than {seconds:g} seconds") from None
        reason = "no answer" if isinstance(error, TimeoutError) else type(error).__name__
        raise UserError(f"the file at the address cannot be fetched ({reason})") from None


def _resolved(url: str, host: str, network: Network, deadline: Deadline) -> Sequence[Endpoint]:
    """Return the addresses of a host, all of which are public."""
    answers: list[Sequence[Endpoint]] = []

    def ask() -> None:
        try:
            answers.append(network.resolve(host))
        except (OSError, UnicodeError):
            answers.append(())

    # The system's resolver takes no timeout, so a thread of its own waits for a name server that does not answer.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(deadline.wait())
    if not answers:
        raise TimeoutError
    if not answers[0]:
        raise UserError(f"the host of {url[:100]!a} cannot be resolved")
    check_public(url, answers[0])
    return answers[0]


def _answer(connection: _Connection, url: str) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("GET", target, headers={"User-Agent": "robust-compression-benchmark"})
    return connection.getresponse()


def _content(answer: http.client.HTTPResponse, size: int, deadline: Deadline) -> bytes:
    """Read the file in an answer as it is: nothing is decompressed."""
    if answer.status != 200:
        raise UserError(f"the file at the address cannot be fetched (HTTP status {answer.status})")
    if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise UserError("the file at the address is sent encoded, which was not requested")
    announced = answer.length  # None: of a chunked answer, or one that ends with the connection
    if announced is not None and announced > size:
        raise UserError(f"the file at the address has more than {size:,} bytes")
    content = bytearray()
    while chunk := answer.read1(CHUNK):
        content += chunk
        if len(content) > size:
            raise UserError(f"the file at the address has more than {size:,} bytes")
        deadline.wait()  # buffered bytes are read without waiting for the socket
    if announced is not None and len(content) < announced:
        raise UserError(f"the download stopped after {len(content):,} of {announced:,} bytes")
    return bytes(content)
