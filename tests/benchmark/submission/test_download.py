"""Downloads end in time, whatever the server does, and connect to nothing but the public addresses that were checked.

A server of this test's own speaks TLS on this machine; the test's network takes it for public hosts.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time

import pytest

from benchmark.errors import UserError
from benchmark.submission.addresses import Endpoint, is_public, resolve
from benchmark.submission.download import INTERNET, Network, download

URL = "https://example.org/a"
PUBLIC = "93.184.215.14"
HOSTS = {"example.org": [PUBLIC], "other.example.org": ["93.184.215.15"]}
CONTENT = b"x" * 100
NOT_PUBLIC = """
    127.0.0.1 10.0.0.1 172.16.0.1 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 0.1.2.3 224.0.0.1 239.255.255.250
    240.0.0.1 255.255.255.255 192.0.2.1 198.51.100.1 203.0.113.1 198.18.0.1 192.0.0.9 192.88.99.1 :: ::1
    ::ffff:127.0.0.1 ::ffff:93.184.215.14 ::93.184.215.14 64:ff9b::5db8:d70e 64:ff9b::7f00:1 64:ff9b:1::1
    2002:7f00:1:: 2001::1 2001:20::1 2001:db8::1 3fff::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1
    ff0e::1 100::1 4000::1 5f00::1 example.org
"""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Make a certificate of the two hosts, which is its own authority; return its file, with the key."""
    folder = tmp_path_factory.mktemp("certificate")
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    names = "subjectAltName=DNS:example.org,DNS:other.example.org"
    subprocess.run(
        [*request.split(), "-addext", names, "-keyout", folder / "key", "-out", folder / "own"],
        check=True,
        capture_output=True,
    )
    (folder / "both").write_bytes((folder / "key").read_bytes() + (folder / "own").read_bytes())
    return folder / "both"


@pytest.fixture
def serve(certificate):
    """Return the maker of a server's network: each connection is given to the next script, after the handshake."""
    with contextlib.ExitStack() as running:

        def start(*scripts, hosts=HOSTS, plain=False):
            listener = running.enter_context(socket.create_server(("127.0.0.1", 0)))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            asked, connected = [], []

            def answer():
                for script in scripts:
                    with contextlib.suppress(OSError):
                        connection, _ = listener.accept()
                        with connection:
                            if plain:
                                script(connection)
                                continue
                            with context.wrap_socket(connection, server_side=True) as secure:
                                script(secure)

            def lookup(host):
                asked.append(host)
                return [Endpoint(socket.AF_INET, (address, 443)) for address in hosts[host]]

            def connect(endpoint, seconds):
                connected.append(endpoint.address)
                return socket.create_connection(listener.getsockname(), timeout=seconds)

            def trust():
                return ssl.create_default_context(cafile=certificate)

            threading.Thread(target=answer, daemon=True).start()
            network = Network(lookup, connect, trust)
            return network, asked, connected

        yield start


def request_of(connection):
    """Read one request to its end."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(1000)
    return request.decode()


def replying(*parts, every=0.0):
    """Return a script that answers with these parts of a reply, with a pause before each."""

    def script(connection):
        request_of(connection)
        for part in parts:
            time.sleep(every)
            connection.sendall(part)

    return script


def ok(*headers, body=CONTENT):
    head = "".join(f"{header}\r\n" for header in headers or (f"Content-Length: {len(body)}",))
    return f"HTTP/1.1 200 OK\r\n{head}\r\n".encode() + body


def redirect(to):
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


def test_a_file_comes_whole_from_the_address_that_was_checked(serve):
    requests = []

    def script(connection):
        requests.append(request_of(connection))
        connection.sendall(ok())

    network, asked, connected = serve(script)

    assert download(f"{URL}?b=c", 100, network=network) == CONTENT
    assert asked == ["example.org"]
    assert connected == [(PUBLIC, 443)]
    assert requests[0].startswith("GET /a?b=c HTTP/1.1\r\n")
    assert "Host: example.org\r\n" in requests[0] and "Accept-Encoding: identity\r\n" in requests[0]


def test_a_name_server_that_changes_its_mind_is_asked_once(monkeypatch):
    answers = iter([PUBLIC, "127.0.0.1"])
    connected = []

    def lookup(host, *args, **kwargs):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 443))]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: connected.append(address) or 1 / 0)

    with pytest.raises(ZeroDivisionError):
        download(URL, 100)
    assert connected == [(PUBLIC, 443)]


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_no_proxy_of_the_environment_is_asked(serve, monkeypatch, proxy):
    monkeypatch.setenv(proxy, "http://127.0.0.1:9")
    network, _, connected = serve(replying(ok()))

    assert download(URL, 100, network=network) == CONTENT
    assert connected == [(PUBLIC, 443)]


def dribbling_handshake(connection):
    """Begin a TLS record of 200 bytes, and send it a byte at a time."""
    for byte in b"\x16\x03\x03\x00\xc8" + bytes(200):
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


@pytest.mark.hangs_after(60)
@pytest.mark.parametrize(
    ("script", "plain"),
    [
        (replying(ok("Content-Length: 100", body=b""), *[b"x"] * 100, every=0.05), False),
        (replying(b"HTTP/1.1 200 OK\r\n", *[b"X"] * 100, every=0.05), False),
        (replying(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 100, every=0.05), False),
        (replying(ok("Transfer-Encoding: chunked", body=b""), *[b"1\r\nx\r\n"] * 100, every=0.05), False),
        (replying(ok("Transfer-Encoding: chunked", body=b"0\r\n"), *[b"a: b\r\n"] * 100, every=0.05), False),
        (dribbling_handshake, True),
    ],
    ids=["body", "header", "interim answers", "chunks", "trailer", "handshake"],
)
def test_a_byte_now_and_then_does_not_outlast_the_deadline(serve, script, plain):
    network, _, _ = serve(script, plain=plain)

    with pytest.raises(UserError, match=r"the download took more than 0\.4 seconds$"):
        download(URL, 100, seconds=0.4, network=network)


@pytest.mark.hangs_after(60)
@pytest.mark.parametrize("plain", [True, False], ids=["handshake", "answer"])
def test_a_server_that_says_nothing_is_left(serve, plain):
    over = threading.Event()
    network, _, _ = serve(lambda _: over.wait(30), plain=plain)

    with pytest.raises(UserError, match=r"cannot be fetched \(no answer\)$"):
        download(URL, 100, wait=0.2, network=network)
    over.set()


@pytest.mark.hangs_after(60)
def test_a_name_server_that_says_nothing_is_left():
    over = threading.Event()
    network = Network(lambda host: over.wait(30) or [], INTERNET.connect, INTERNET.tls)

    with pytest.raises(UserError, match=r"the download took more than 0\.2 seconds"):
        download(URL, 100, seconds=0.2, network=network)
    over.set()


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (ok(body=b"x" * 101), "has more than 100 bytes"),
        (ok("Connection: close", body=b"x" * 101), "has more than 100 bytes"),
        (ok("Content-Length: 1000000000000", body=b""), "has more than 100 bytes"),
        (ok("Transfer-Encoding: chunked", body=b"65\r\n" + b"x" * 101 + b"\r\n0\r\n\r\n"), "has more than 100 bytes"),
        (ok("Transfer-Encoding: chunked", body=b"-1\r\nx\r\n"), "cannot be fetched"),
        (ok("Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\nx"), "cannot be fetched|has more than"),
        (ok("Content-Length: 100", body=b"x" * 99), "stopped after 99 of 100 bytes"),
        (ok("Content-Encoding: gzip", "Content-Length: 3", body=b"\x1f\x8b\x08"), "is sent encoded"),
        (ok("X: " + "x" * 70_000), r"cannot be fetched \(LineTooLong\)"),
        (ok(*[f"X{number}: x" for number in range(200)]), r"cannot be fetched \(HTTPException\)"),
        (b"HTTP/1.1 404 \x1b[31mred\r\n\r\n", r"\(HTTP status 404\)"),
        (b"HTTP/1.1 206 Part\r\nContent-Length: 1\r\n\r\nx", r"\(HTTP status 206\)"),
        (b"SSH-2.0\r\n", r"cannot be fetched \(BadStatusLine\)"),
        (b"", r"cannot be fetched \(RemoteDisconnected\)"),
    ],
)
def test_a_reply_that_is_not_the_file_is_refused_in_a_sentence(serve, reply, problem):
    network, _, _ = serve(replying(reply))

    with pytest.raises(UserError, match=problem) as caught:
        download(URL, 100, network=network)
    assert str(caught.value).isprintable()


def test_a_certificate_of_another_host_is_refused(serve):
    network, _, _ = serve(replying(ok()), hosts={"wrong.org": [PUBLIC]})

    with pytest.raises(UserError, match="SSLCertVerificationError"):
        download("https://wrong.org/a", 100, network=network)


def test_a_redirection_is_followed_to_a_host_that_is_checked_as_well(serve):
    network, asked, connected = serve(replying(redirect("https://other.example.org/b")), replying(ok()))

    assert download(URL, 100, network=network) == CONTENT
    assert asked == ["example.org", "other.example.org"]
    assert connected == [(PUBLIC, 443), ("93.184.215.15", 443)]


@pytest.mark.parametrize(
    ("to", "problem"),
    [
        ("http://example.org/b", "is refused"),
        ("https://example.org:8443/b", "is refused"),
        ("https://me@example.org/b", "is refused"),
        ("file:///etc/passwd", "is refused"),
        ("https://example.org/" + "b" * 5000, "is refused"),
        ("https://inside/b", "is not on a public host"),
        ("https://mixed/b", "is not on a public host"),
    ],
)
def test_a_redirection_elsewhere_is_refused_before_it_is_followed(serve, to, problem):
    hosts = {**HOSTS, "inside": ["10.0.0.1"], "mixed": [PUBLIC, "192.168.0.1"]}
    network, _, connected = serve(replying(redirect(to)), hosts=hosts)

    with pytest.raises(UserError, match=problem):
        download(URL, 100, network=network)
    assert connected == [(PUBLIC, 443)]


def test_redirections_come_to_an_end(serve):
    network, _, connected = serve(*[replying(redirect("/again"))] * 10)

    with pytest.raises(UserError, match="redirects more than 5 times"):
        download(URL, 100, network=network)
    assert len(connected) == 6


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://example.org/a", "https"),
        ("https://example.org:444/a", "https"),
        ("https://me@example.org/a", "https"),
        ("https://example.org/a\r\nHost: inside", "printable"),
        ("https://example.org/ä", "printable"),
        (f"https://{'a' * 64}.org/a", "cannot be resolved"),
    ],
)
def test_only_plain_https_addresses_are_asked(url, problem):
    network = Network(resolve, None, None)

    with pytest.raises(UserError, match=problem):
        download(url, 10, network=network)


@pytest.mark.parametrize(
    "address",
    NOT_PUBLIC.split(),
)
def test_an_address_that_is_no_machine_on_the_public_internet_is_refused(address):
    assert not is_public(address)
    network = Network(lambda host: [Endpoint(socket.AF_INET, (PUBLIC, 443)), Endpoint(0, (address, 443))], None, None)

    with pytest.raises(UserError, match="is not on a public host"):
        download(URL, 10, network=network)


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700::1", "2a00:1450:4001::64"])
def test_public_addresses_of_both_versions_are_allowed(address):
    assert is_public(address)
