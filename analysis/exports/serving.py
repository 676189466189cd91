"""optuna-dashboard over a projection of the ledger that follows a running sweep."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ...orchestrator.errors import SwatheError
from .following import Follower
from .studies import Studies
from .targets import require

REFRESH_SECONDS = 2.0
_REFUSAL = b'{"reason": "this dashboard shows a sweep; it changes nothing"}'

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """A page asks every few seconds, which is nobody's business."""


class Dashboard:
    """The server, and a thread that keeps its studies up to date. Use as a context manager, then `serve`."""

    def __init__(self, follower: Follower, host: str, port: int) -> None:
        require("dashboard", "optuna_dashboard", "optuna-dashboard", "dashboard")
        import optuna
        import optuna_dashboard

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        logging.getLogger("optuna_dashboard").setLevel(logging.ERROR)
        storage = optuna.storages.InMemoryStorage()
        self._studies = Studies(storage, follower)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._refresh, name="swathe-projection", daemon=True)
        self.error = ""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            app = optuna_dashboard.wsgi(storage)
        try:
            self._server = make_server(host, port, read_only(app), server_class=_Server, handler_class=_Quiet)
        except OSError as error:
            raise SwatheError(
                f"nothing can listen on {host}:{port}: {error.strerror or error}; name another with --port or --host"
            ) from None

    @property
    def address(self) -> str:
        """Where it can be seen."""
        host, port = self._server.server_address[:2]
        return f"http://{host}:{port}/dashboard"

    def __enter__(self) -> Dashboard:
        self._studies.refresh()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._server.server_close()
        self._thread.join()

    def serve(self) -> None:
        """Answer until the process is interrupted, or `stop` is called from another thread."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """End `serve`."""
        self._server.shutdown()

    def _refresh(self) -> None:
        while not self._ending.wait(REFRESH_SECONDS):
            try:
                self._studies.refresh()
                self.error = ""
            except SwatheError as error:
                # A database that is away for a while; what is known stays on show.
                self.error = str(error)


def read_only(app: App) -> App:
    """The same application, which answers questions and refuses whatever would change something."""

    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start)
        start("405 Method Not Allowed", [("Content-Type", "application/json"), ("Allow", "GET, HEAD")])
        return [_REFUSAL]

    return answer
