"""A text over HTTP."""

from __future__ import annotations

import os
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pybpftool.errors import BpfError
from pybpftool.output.textserver import CONTENT_TYPE, TextServer


@contextmanager
def serving(content: Callable[[], str], host: str = "127.0.0.1") -> Iterator[str]:
    server = TextServer(host, 0, content)
    reader, writer = os.pipe()
    stopped: list[int] = []
    thread = threading.Thread(target=server.serve, args=(reader, lambda: bool(stopped)))
    thread.start()
    try:
        yield server.url
    finally:
        stopped.append(1)
        os.write(writer, b"x")
        thread.join(20)
        server.close()
        os.close(reader)
        os.close(writer)
    assert not thread.is_alive()


def get(url: str, method: str = "GET") -> tuple[int, bytes, str]:
    request = urllib.request.Request(url, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.read(), answer.headers["Content-Type"]
    except urllib.error.HTTPError as error:
        return error.code, error.read(), ""


def test_answers() -> None:
    count = iter(range(10))
    with serving(lambda: f"n {next(count)}\n") as url:
        assert get(url) == (200, b"n 0\n", CONTENT_TYPE)
        assert get(url + "?x=1")[1] == b"n 1\n"
        assert get(url, "HEAD")[:2] == (200, b"")
        assert get(url.replace("/metrics", "/"))[0] == 200
        assert get(url.replace("/metrics", "/etc/passwd"))[:2] == (404, b"there is only /metrics\n")
        assert get(url, "POST")[0] == 501


def test_an_error_is_an_answer_and_not_the_end() -> None:
    def content() -> str:
        raise BpfError("not now")

    with serving(content) as url:
        assert get(url)[:2] == (503, b"not now\n")
        assert get(url)[0] == 503


def test_clients_that_go_away() -> None:
    with serving(lambda: "text\n") as url:
        place = ("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        socket.create_connection(place).close()
        with socket.create_connection(place) as one:
            one.sendall(b"\x00\xff nonsense\r\n\r\n")
        assert get(url)[0] == 200


def test_ipv6() -> None:
    try:
        with serving(lambda: "six\n", "::1") as url:
            assert url.startswith("http://[::1]:")
            assert get(url)[1] == b"six\n"
    except BpfError as error:
        pytest.skip(str(error))


def test_an_address_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BpfError, match=r"cannot serve at 127\.0\.0\.1:.*in use"):
            TextServer("127.0.0.1", taken.getsockname()[1], str)
    with pytest.raises(BpfError, match="cannot serve at"):
        TextServer("192.0.2.1", 0, str)
