"""A small web server for one page that only this machine can see, with one thread for each request.

Who does not know the token in the path gets nothing, nor does a foreign page that had its own name point here: the Host
must be the loopback address. A client that does not read holds up its own thread only, and not for long; neither does one
that takes its time to ask; there is a limit on how many there can be. All belongs to the process that started it: a
child that is forked gives its share back at once. The thread that accepts also ends it all, so that no Ctrl-C can come between.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
import weakref
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, final

from .served import Served

ADDRESS = "127.0.0.1"
HOSTS = (ADDRESS, "localhost")  # at any port: it may have been forwarded
MOST_CLIENTS = 32
PATIENCE = 5.0  # seconds that a client has for its whole request, and that a silent one is waited for
LINGER = 0.2  # seconds at the end for whoever is about to ask, to be told that it is over
FAREWELL = 1.0  # seconds at the end for answers under way
POLL = 0.1  # seconds between two looks around while nobody asks
HEARTBEAT = 1.0  # seconds between signs of life to whoever listens to events
SEND_BUFFER = 1 << 16  # bytes: who does not read is found out soon

# Scripts and styles from here and nowhere else. A notebook may show the page in a frame.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self' http://localhost:* http://127.0.0.1:* vscode-webview: vscode-file:"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@final
class Loopback(ThreadingTCPServer):
    """Serves on a port that the system chooses, from `start` to `stop`."""

    daemon_threads = True
    request_queue_size = MOST_CLIENTS
    timeout = POLL

    def __init__(self, served: Served) -> None:
        super().__init__((ADDRESS, 0), Handler, bind_and_activate=False)
        self.served = served
        self.token = secrets.token_urlsafe(24)
        self.open: dict[socket.socket, threading.Thread] = {}
        self.asking: dict[socket.socket, float] = {}  # who has not said yet what it wants, and until when it may
        self.listeners: set[socket.socket] = set()  # who is told of every state
        self.accepting = threading.Thread(target=self.serve, name="chainrule live", daemon=True)
        self.until: float | None = None  # when the last answers under way are cut off, once it ends
        self.gone = threading.Event()  # a wait for it can be interrupted and begun again; one for a thread cannot
        SERVERS.add(self)

    @property
    def url(self) -> str:
        return f"http://{ADDRESS}:{self.server_address[1]}/{self.token}/"

    def start(self) -> None:
        """Raises `RuntimeError` where no thread can be had."""
        self.server_bind()
        self.server_activate()
        try:
            self.accepting.start()
        except RuntimeError as error:
            raise RuntimeError(
                f"live: the page cannot be served: {error}; end other threads, or train without it"
            ) from error

    def end(self) -> None:
        """Begin to stop, and wait for nothing."""
        self.until = time.monotonic() + FAREWELL + LINGER * bool(self.open)

    def stop(self) -> None:
        """Let requests under way finish, cut off those that do not, take no more; no thread is left. Again: cut all off now."""
        if self.until is None:
            self.end()
        else:
            self.until = time.monotonic()
        if self.accepting.is_alive():
            self.gone.wait()
            self.accepting.join()
        self.server_close()  # where that thread never started, or is another process's

    def serve(self) -> None:
        try:
            while self.goes_on():
                self.handle_request()
                self.service_actions()
        finally:
            self.server_close()
            for request, thread in list(self.open.items()):
                cut_off(request)
                thread.join(PATIENCE)
            self.gone.set()

    def goes_on(self) -> bool:
        if self.until is None:
            return True
        left = self.until - time.monotonic()
        return left > FAREWELL or (left > 0.0 and bool(self.open))

    def abandon(self) -> None:
        """In a forked child: let go of the port and the connections, which go on being the parent's."""
        for held in (self.socket, *self.open):
            if (number := held.detach()) >= 0:
                os.close(number)
        for clients in (self.open, self.asking, self.listeners):
            clients.clear()
        self.served.abandon()

    def service_actions(self) -> None:
        """Now and then: cut off who still asks, however busily."""
        for request, end in self.asking.copy().items():
            if time.monotonic() > end and self.asking.pop(request, None) is not None:
                cut_off(request)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return len(self.open) < MOST_CLIENTS

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=(request, client_address), name="chainrule live", daemon=True
        )
        self.open[request], self.asking[request] = thread, time.monotonic() + PATIENCE
        try:
            thread.start()
        except (MemoryError, RuntimeError):  # no thread can be had for this one; the next may come at a better time
            self.forget(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.forget(request)

    def forget(self, request: socket.socket) -> None:
        self.open.pop(request, None)
        self.asking.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):  # those are the client's affair
            super().handle_error(request, client_address)


SERVERS: weakref.WeakSet[Loopback] = weakref.WeakSet()


def abandon_all() -> None:
    for server in SERVERS:
        server.abandon()


if hasattr(os, "register_at_fork"):  # not where no process can be forked
    os.register_at_fork(after_in_child=abandon_all)


@final
class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Loopback
    timeout = PATIENCE

    def parse_request(self) -> bool:
        """Whether there is something to answer: nothing of what was cut off."""
        return super().parse_request() and self.server.asking.pop(self.connection, None) is not None

    def do_GET(self) -> None:
        name, served = self.asked(), self.server.served
        if name is None:
            return
        if name in served.files:
            self.answer(*served.files[name])
        elif name == "state":
            self.answer("application/json", served.news(-1, 0.0)[1])
        elif name in ("light", "dark"):
            self.answer("application/json", served.graph(number_in(self.path), name))
        elif name == "events":
            self.listen()
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def do_POST(self) -> None:
        name = self.asked()
        if name is None:
            return
        if self.headers["Origin"] not in (None, f"http://{self.headers['Host']}"):
            self.send_error(HTTPStatus.FORBIDDEN)
        elif self.server.served.obey(name):
            self.begin(HTTPStatus.NO_CONTENT)
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def asked(self) -> str | None:
        """What of the page is asked for; None, and it has been said so, where that is nobody's business."""
        parts = self.path.partition("?")[0].split("/", 2)
        if self.headers.get("Host", "").partition(":")[0] not in HOSTS:
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
        elif len(parts) < 3 or not secrets.compare_digest(parts[1].encode(), self.server.token.encode()):
            self.send_error(HTTPStatus.NOT_FOUND)
        else:
            return parts[2]
        return None

    def listen(self) -> None:
        """Send every state that is new, or the newest of several, until one side ends it."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.begin(HTTPStatus.OK, "text/event-stream")
        served, seen = self.server.served, -1
        self.server.listeners.add(self.connection)
        try:
            while True:
                ended = served.ended()
                number, state = served.news(seen, HEARTBEAT)
                self.wfile.write(b"data: %b\n\n" % state if number != seen else b":\n\n")
                seen = number
                if ended:
                    return
        finally:
            self.server.listeners.discard(self.connection)

    def answer(self, kind: str, content: bytes) -> None:
        self.begin(HTTPStatus.OK, kind, len(content))
        self.wfile.write(content)

    def begin(self, status: HTTPStatus, kind: str | None = None, length: int | None = None) -> None:
        self.send_response(status)
        for name, text in HEADERS.items():
            self.send_header(name, text)
        if kind is not None:
            self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Nothing but the status: whoever is wrong here learns no more."""
        self.begin(HTTPStatus(code), length=0)

    def version_string(self) -> str:
        return "chainrule"

    def log_message(self, format: str, *args: Any) -> None:
        """Training's own output is not to be interrupted."""


def number_in(path: str) -> int:
    """The number after the question mark."""
    text = path.partition("?")[2]
    return int(text) if text.isdecimal() and len(text) < 20 else -1


def cut_off(request: socket.socket) -> None:
    try:
        request.shutdown(socket.SHUT_RDWR)
    except OSError:  # it has gone by itself
        return
