"""Ray as a guest that is not heard: joining a cluster, or being one for as long as a run takes.

Knows Ray's manners (what it prints, listens on, writes and takes hold of), and no model.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

from infimm_eval.errors import MachineryError, UsageError, unforeseen
from infimm_eval.workers.scratch import Scratch

_FRUGAL: dict[str, Any] = {
    "prestart_worker_first_driver": False,  # one for each processor, whoever needs them
    "task_events_report_interval_ms": 0,  # for a dashboard, once a second
    "enable_timeline": False,
    "enable_metrics_collection": False,
    "event_stats": False,
    "worker_niceness": 0,  # 15, so that on a busy machine a fleet would stand still
}
"""Settings of Ray's for a cluster that has one user, one job and nobody who looks at it."""

_LACKING = "many workers need Ray; install it: pip install 'infimm-eval[ray]'"


class Cluster:
    """A cluster that was joined at ``address``, or one of this machine alone that ends with
    ``close``: with room for ``cpus`` and ``gpus``, and not a process, file or word of it left.

    Every connection needs a token.  That of a cluster of our own is made up anew each time and
    written nowhere.
    """

    def __init__(self, address: str | None, *, cpus: int, gpus: int) -> None:
        """UsageError where Ray is not installed or no cluster answers at the address;
        MachineryError where none can be started here."""
        if address is not None and not _is_address(address):
            raise UsageError(f"--ray {address}: give HOST:PORT of the cluster's head, or auto")
        _require_tokens()
        if address is not None and address != "auto":
            _call(address)
        # Read when Ray is imported.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ["RAY_AUTH_MODE"] = "token"
        if address is None:
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        try:
            import ray
        except ImportError as error:
            raise UsageError(_LACKING) from error
        self.ray = ray
        self._scratch: Scratch | None = None
        self._owned = not ray.is_initialized()
        if self._owned:
            self._start(address, cpus, gpus)

    @property
    def resources(self) -> dict[str, float]:
        """What the whole cluster has."""
        found: dict[str, float] = self.ray.cluster_resources()  # type: ignore[no-untyped-call]
        return found

    @property
    def is_local(self) -> bool:
        """Whether it is this machine alone."""
        return self._scratch is not None

    def close(self) -> None:
        """Leave the cluster, or end it."""
        if self._owned:
            with _signals_kept(), _uninterrupted():
                self.ray.shutdown()
        if self._scratch is not None:
            self._scratch.close()

    def _start(self, address: str | None, cpus: int, gpus: int) -> None:
        # It says that tokens are on.
        logging.getLogger("ray._private.authentication").setLevel("ERROR")
        with suppress(AttributeError):  # no option keeps deaths of workers from being printed
            self.ray._private.worker.print_to_stdstream = lambda *_, **__: None
        asked: dict[str, Any] = {
            "address": address or "local",  # never that of /tmp/ray, which may be long gone
            "log_to_driver": False,
            "logging_level": "error",
            "configure_logging": False,
        }
        if address is None:
            self._scratch = Scratch()
            asked |= {"include_dashboard": False, "num_cpus": cpus, "num_gpus": gpus}
            asked |= {"_temp_dir": str(self._scratch.path), "_system_config": _FRUGAL}
        try:
            with _signals_kept(), few_helpers(self.ray), _hushed(address is not None):
                if address not in (None, "auto"):
                    _knock(address)
                self._init(asked)
        except Exception as error:  # Ray raises anything, Exception itself among it
            self.close()
            if address is None:
                raise MachineryError(f"Ray does not start here ({unforeseen(error)})") from error
            raise UsageError(
                f"no Ray cluster can be joined at {address} ({_why(error)})"
            ) from error
        except BaseException as error:
            self.close()
            if isinstance(error, SystemExit):  # Ray's answer to SIGTERM while it starts
                raise KeyboardInterrupt from error
            raise

    def _init(self, asked: Mapping[str, Any]) -> None:
        """Twice at most: Ray gives its own processes 30 seconds, whatever else a machine does."""
        try:
            self.ray.init(**deepcopy(asked))  # Ray notes in it where its files are
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            self.ray.shutdown()
            self.ray.init(**deepcopy(asked))


def _is_address(address: str) -> bool:
    found = re.fullmatch(r"[^\s/]+:(\d{1,5})", address)
    return address == "auto" or (found is not None and 0 < int(found[1]) < 1 << 16)


def _call(address: str) -> None:
    """UsageError where nobody listens: Ray would ask for minutes, and complain to the screen."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise UsageError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); is its head there, "
            "and the port open?"
        ) from error


def _knock(address: str) -> None:
    """Asks once whether a cluster is there and knows our token; raises what Ray does.  ``ray.init``
    asks twenty times, which takes a quarter of an hour where something else listens."""
    try:
        from ray._raylet import GcsClient  # type: ignore[attr-defined]
    except ImportError:  # another version of Ray has it elsewhere: it takes longer to say no
        return
    GcsClient(address=address)


def _why(error: Exception) -> str:
    """What keeps a cluster from being joined, and what would help."""
    if "no authentication token" in str(error):
        return "no token is here; copy ~/.ray/auth_token of its head, or set RAY_AUTH_TOKEN"
    if type(error).__name__ == "AuthenticationError":
        return (
            "its token is another; copy ~/.ray/auth_token of its head, or set RAY_AUTH_TOKEN to it"
        )
    said = unforeseen(error).rstrip(".")
    return f"{said}; is its head there, started with RAY_AUTH_MODE=token, and the token the same?"


def _require_tokens() -> None:
    """UsageError where Ray was imported before it could be told to ask for tokens."""
    ray = sys.modules.get("ray")
    told = os.environ.get("RAY_AUTH_MODE") == "token"
    if ray is not None and not told and not ray.is_initialized():
        raise UsageError(
            "ray was imported without RAY_AUTH_MODE=token in the environment, so that anybody "
            "could join; set it before, or call ray.init() yourself"
        )


@contextmanager
def few_helpers(ray: Any) -> Iterator[None]:
    """A cluster of our own starts without what shows it, scales it, and brings its workers' words
    here: three processes, each of which takes longer to start than a worker."""
    try:
        services, parameters = ray._private.services, ray._private.parameter
        shows, given = services.start_api_server, parameters.RayParams
    except AttributeError:  # another version of Ray has them elsewhere: it starts more slowly
        yield
        return
    services.start_api_server = lambda *_, **__: (None, None)
    parameters.RayParams = partial(given, no_monitor=True, include_log_monitor=False)
    try:
        yield
    finally:
        services.start_api_server, parameters.RayParams = shows, given


@contextmanager
def _hushed(hushed: bool) -> Iterator[None]:
    """Ray's native code writes to the screen whenever a cluster does not take to us."""
    if not hushed:
        yield
        return
    sys.stderr.flush()
    screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)
        os.close(screen)
        os.close(nowhere)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Ray takes SIGTERM and the hook for uncaught exceptions; they are the program's."""
    hook, main = sys.excepthook, threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        sys.excepthook = hook
        if main and before is not None:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """A further Ctrl-C would leave half of Ray's processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def reason(error: BaseException) -> str:
    """Ray's message has many sentences; the one that says why is not the first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    why = [line for line in lines if line.startswith("The actor is dead because")]
    return (*why, *lines, type(error).__name__)[0].partition(". ")[0][:160]


def visible_gpus() -> int:
    """Accelerators of this machine that this process may use, without waking one."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return len([name for name in chosen.split(",") if name.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))
