"""One text over HTTP, for who asks for it from time to time."""

from __future__ import annotations

import select
import socket
from http.server import BaseHTTPRequestHandler, HTTPServer

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PATIENCE = 5.0  # seconds for a request to come in, and for its answer to go out


class TextServer:
    """Answers ``/metrics`` with what ``content`` returns at that time.

    An error of it is status 503 with its sentence. Requests are answered one after the other.
    """

    def __init__(self, host: str, port: int, content: Callable[[], str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            timeout = _PATIENCE
            server_version = "pybpftool"
            sys_version = ""

            def do_GET(self) -> None:
                self._answer(True)

            def do_HEAD(self) -> None:
                self._answer(False)

            def _answer(self, with_body: bool) -> None:
                path = self.path.partition("?")[0]
                status, text = 200, ""
                if path == "/":
                    text = "the metrics are at /metrics\n"
                elif path != "/metrics":
                    status, text = 404, "there is only /metrics\n"
                else:
                    try:
                        text = content()
                    except BpfError as error:
                        status, text = 503, f"{error}\n"
                body = text.encode("utf-8", "backslashreplace")
                self.send_response(status)
                self.send_header("Content-Type", CONTENT_TYPE)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if with_body:
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Nobody reads it."""

        class Server(HTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that goes away in the middle is nothing to tell of."""

            def server_bind(self) -> None:
                # Not HTTPServer's: it looks the name of the address up.
                socket_server_bind(self)
                self.server_name, self.server_port = host, self.socket.getsockname()[1]

        try:
            self._server = Server((host, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise BpfError(f"cannot serve at {_shown(host, port)}: {reason}") from None

    @property
    def url(self) -> str:
        """Where the metrics are."""
        return f"http://{_shown(*self._server.socket.getsockname()[:2])}/metrics"

    def serve(self, stop: int, is_stopped: Callable[[], bool]) -> None:
        """Answer until ``is_stopped``, which is asked when the descriptor ``stop`` is readable."""
        listening = self._server.fileno()
        self._server.timeout = 0.1  # for a client that is gone before it was let in
        while not is_stopped():
            ready, _, _ = select.select([listening, stop], [], [])
            if listening in ready and not is_stopped():
                self._server.handle_request()

    def close(self) -> None:
        """Listen no longer."""
        self._server.server_close()


def socket_server_bind(server: HTTPServer) -> None:
    """Bind as socketserver does."""
    import socketserver

    socketserver.TCPServer.server_bind(server)


def _shown(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
