"""One exchange over HTTP, over before its deadline: a request to one host, and its whole reply.

Follows no redirect, so that a key stays where it was sent; knows nothing of tries.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from socket import SHUT_RDWR, socket
from ssl import SSLCertVerificationError, create_default_context
from threading import Timer
from urllib.parse import SplitResult, unquote, urlsplit

from infimm_eval.errors import UsageError
from infimm_eval.models.openai.address import Address
from infimm_eval.models.openai.refusals import Fate, Refused, one_line

LARGEST = 16 * 2**20
"""Bytes of a reply that are read: no chat is longer."""

CONNECTING = 30.0
"""Seconds to wait for a host to take a connection."""

_CLOSING = {"Connection": "close"}
"""A connection serves once: to a busy server an idle one is a burden."""


@dataclass(frozen=True, slots=True)
class Received:
    """What came back."""

    status: int
    body: str
    retry_after: str | None


class Exchange:
    """Posts to one address; ``timeout`` seconds are all there is, from connecting to the last byte
    read, also where a server sends a little now and then."""

    def __init__(self, address: Address, timeout: float) -> None:
        self.address = address
        self.timeout = timeout
        self._proxy = _proxy(address)
        self._security = create_default_context() if address.origin[0] == "https" else None
        self._aborted = False
        self._under_way: set[_Watch] = set()

    @property
    def where(self) -> str:
        """Names the proxy, where there is one, for messages; its password is not shown."""
        if self._proxy is None:
            return ""
        return f" through the proxy {self._proxy.hostname}:{self._proxy.port or 80}"

    def post(self, path: str, data: bytes, headers: Mapping[str, str]) -> Received:
        """The reply, whatever its status.  ``Refused`` where there is none that is whole."""
        connection = self._connection()
        target, extra = self._target(path)
        with self._watched(connection) as watch:
            try:
                connection.connect()
                watch.begin()
                with suppress(ConnectionError):  # it may have said why it reads no further
                    connection.request("POST", target, data, {**_CLOSING, **headers, **extra})
                received = _received(connection.getresponse())
            except (OSError, HTTPException, ValueError, OverflowError) as error:
                raise self._failure(error, watch) from error
            finally:
                connection.close()
        if watch.over:
            raise self._failure(TimeoutError(), watch)
        return received

    def open(self) -> None:
        """After ``abort``: posts go out again."""
        self._aborted = False

    def abort(self) -> None:
        """Breaks off everything that is under way, or about to be."""
        self._aborted = True
        for watch in list(self._under_way):
            watch.cut()

    def _connection(self) -> HTTPConnection:
        _, host, port = self.address.origin
        proxy, patience = self._proxy, min(self.timeout, CONNECTING)
        there = (host, port) if proxy is None else (proxy.hostname or "", proxy.port or 80)
        if self._security is None:
            return HTTPConnection(*there, timeout=patience)
        connection = HTTPSConnection(*there, timeout=patience, context=self._security)
        if proxy is not None:
            connection.set_tunnel(host, port, _authorization(proxy))
        return connection

    def _target(self, path: str) -> tuple[str, dict[str, str]]:
        """What to ask for; of a proxy without a tunnel, by the whole address."""
        scheme, host, port = self.address.origin
        target = self.address.target(path)
        if self._proxy is None or scheme == "https":
            return target, {}
        name = f"[{host}]" if ":" in host else host
        return f"{scheme}://{name}:{port}{target}", _authorization(self._proxy)

    def _failure(self, error: Exception, watch: _Watch) -> Refused:
        """Nothing of what the server sent is shown: it may be anything."""
        fate: Fate = "hopeless" if isinstance(error, SSLCertVerificationError) else "busy"
        if watch.over or isinstance(error, TimeoutError):
            said = f"no whole reply within {self.timeout:g} s" if watch.begun else "no connection"
            fate = "slow"
        elif isinstance(error, OSError):
            said = one_line(error.strerror or str(error))
        else:
            said = f"the reply is no HTTP ({type(error).__name__})"
        return Refused(0, said, fate, where=self.where)

    @contextmanager
    def _watched(self, connection: HTTPConnection) -> Iterator[_Watch]:
        watch = _Watch(connection, self.timeout)
        self._under_way.add(watch)
        if self._aborted:
            watch.cut()
        try:
            yield watch
        finally:
            self._under_way.discard(watch)
            watch.timer.cancel()


class _Watch:
    """Shuts a connection at its deadline: a socket's own timeout starts anew with every byte."""

    def __init__(self, connection: HTTPConnection, seconds: float) -> None:
        self.over = False
        self.timer = Timer(seconds, self.cut)
        self.timer.daemon = True
        self._connection = connection
        self._seconds = seconds
        self._socket: socket | None = None
        self.timer.start()

    def begin(self) -> None:
        """The connection stands; from here its socket is needed although it forgets it.

        ``TimeoutError`` where it is too late already.
        """
        self._socket = self._connection.sock
        self._socket.settimeout(self._seconds)
        if self.over:
            raise TimeoutError

    @property
    def begun(self) -> bool:
        """Whether there was a connection."""
        return self._socket is not None

    def cut(self) -> None:
        """Ends whatever waits for the other side."""
        self.over = True
        used: socket | None = self._socket or self._connection.sock
        if used is not None:
            with suppress(OSError):
                # Not TLS's own shutdown, which pulls the rug from under who reads.
                socket.shutdown(used, SHUT_RDWR)


def _received(response: HTTPResponse) -> Received:
    with response:
        body = response.read(LARGEST)
        if response.length:
            raise ConnectionError("the reply broke off, or is too long")
        after = response.headers.get("Retry-After")
        return Received(response.status, body.decode("utf-8-sig", "replace"), after)


def _proxy(address: Address) -> SplitResult | None:
    named = address.proxy
    if not named:
        return None
    try:
        parts = urlsplit(named if "://" in named else f"http://{named}")
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise UsageError(
            f"{address.url}: the proxy of the environment is not like http://host:3128; "
            "mend HTTP_PROXY and HTTPS_PROXY, or name the host in NO_PROXY"
        )
    return parts


def _authorization(proxy: SplitResult) -> dict[str, str]:
    """A proxy may want a name and a password of its own."""
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
