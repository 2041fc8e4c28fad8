"""A temporary Airflow 3 beside the portal: its real processes, bound to this machine alone.

The log servers of Airflow's own ``standalone`` command listen on every interface, so each component is
started by itself, without them. Everything lives in one folder and ends with the ``with`` block.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
MORE_COMPONENTS: Mapping[str, tuple[str, ...]] = {
    # For CeleryExecutor, which wants a broker, a result backend and its provider besides.
    "worker": ("celery", "worker", "--skip-serve-logs"),
    # Of Airflow 2, in place of the API server.
    "webserver": ("webserver", "--workers", "1"),
    # All in one. Its log servers listen on every interface, so it wants a network of its own.
    "standalone": ("standalone",),
}
_TIMEOUT = 600.0
"""Seconds; a busy machine takes many times what an idle one does."""
_EXIT_TIMEOUT = 30.0
"""Seconds after which a process is asked again to end."""
_LAST_LINES = 40
_SERVER_ERRORS = 500
_BUSY = "Database error"
"""What a reply says when Airflow has rolled back; SQLite refuses at once to write after a read that is outdated."""
_ATTEMPTS = 10


class LocalAirflowError(RuntimeError):
    """Airflow did not do what was asked of it; the message holds the end of the log."""


class _NotReadyError(LocalAirflowError):
    """Airflow could not answer; it may a moment later."""


class _BusyError(_NotReadyError):
    """Airflow's database was busy; nothing was done."""


class LocalAirflow:
    """Airflow's processes, by default on SQLite, in a folder of their own.

    :param home: becomes ``AIRFLOW_HOME``; an existing, empty folder.
    :param dags: folder of DAG files.
    :param settings: more environment variables for all components, such as connections; they go before those that
        are set here, so that another database or executor can be named.
    :ivar url: address of the web UI and REST API.
    """

    def __init__(self, home: Path, dags: Path, settings: Mapping[str, str]) -> None:
        self.home = home
        # Nobody else is given the port in the time until Airflow listens on it.
        self._reserved = _reserve_port()
        self.port = int(self._reserved.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._airflow = str(Path(sys.executable).with_name("airflow"))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._orphaned: list[subprocess.Popen[bytes]] = []
        self._token = ""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")}
        self.environment = inherited | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__API__ENABLE_XCOM_DESERIALIZE_SUPPORT": "True",  # of 3.0; later ones need no leave
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",  # Airflow 3.0 starts four, which a small machine takes minutes for
            "AIRFLOW__API__SECRET_KEY": secrets.token_hex(16),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "120",
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__CORE__FERNET_KEY": urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": "4",
            "AIRFLOW__CORE__TEST_CONNECTION": "Enabled",
            "AIRFLOW__DAG_PROCESSOR__DAG_FILE_PROCESSOR_TIMEOUT": "180",
            "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
            "PYTHONWARNINGS": "ignore",
            "PYTHONUNBUFFERED": "1",
            # Airflow's standalone starts the others by their name.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
            # Loopback must not be reached through somebody's proxy.
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            **settings,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop every process: interrupt, then terminate, then kill."""
        with _ignoring_interrupts():
            for signal_number, timeout in (
                (signal.SIGINT, 12.0),
                (signal.SIGTERM, 4.0),
                (signal.SIGKILL, 30.0),
            ):
                for process in self._started():
                    self._signal(process, signal_number)
                deadline = time.monotonic() + timeout
                while any(map(self._lives, self._started())) and time.monotonic() < deadline:
                    time.sleep(0.05)
            self._processes.clear()
            self._orphaned.clear()
            self._reserved.close()

    @property
    def password(self) -> str:
        """The password of the user ``admin``, made by Airflow at its first start."""
        made = json.loads((self.home / "simple_auth_manager_passwords.json.generated").read_text("utf-8"))
        return str(made["admin"])

    def migrate(self) -> None:
        """Create the database."""
        done = self.command("db", "migrate")
        if done.returncode:
            raise LocalAirflowError(f"airflow db migrate failed:\n{done.stdout}{done.stderr}")

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of Airflow's commands to its end, such as ``connections list``, and return what it wrote."""
        return subprocess.run(
            [self._airflow, *arguments],
            env=self.environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )

    def start(self, components: Iterable[str] = COMPONENTS) -> None:
        """Start components; return when the REST API answers.

        :param components: all that Airflow 3 has, or their names, of :data:`COMPONENTS` or :data:`MORE_COMPONENTS`.
        """
        for name in components:
            self.start_component(name)
        self.wait_for("the REST API", self._answers)

    def start_component(self, name: str, *arguments: str, settings: Mapping[str, str] | None = None) -> None:
        """Start one component in a session of its own.

        :param name: of :data:`COMPONENTS` or :data:`MORE_COMPONENTS`; with a word before it, such as
            ``another triggerer``, it is one more.
        :param arguments: more of them for its command.
        :param settings: more environment variables for this one alone, as on a host of its own.
        """
        command = {**COMPONENTS, **MORE_COMPONENTS}[name.rpartition(" ")[2]]
        with self._log_of(name).open("ab") as log:
            self._processes[name] = subprocess.Popen(
                [self._airflow, *command, *arguments],
                env={**self.environment, **(settings or {})},
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop_component(self, name: str) -> None:
        """End one component as an administrator does, and wait for it; :meth:`start_component` starts it again.

        :raises LocalAirflowError: it does not end.
        """
        process = self._processes.pop(name)
        # A scheduler leaves idle processes of its executor behind; they end with the others.
        self._orphaned.append(process)
        deadline = time.monotonic() + _TIMEOUT
        while time.monotonic() < deadline:
            # A DAG processor that is busy may log that it exits, and go on.
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_EXIT_TIMEOUT)
                return
        raise LocalAirflowError(f"airflow {name} does not stop:\n{self._tail(name)}")

    def kill_component(self, name: str, *, alone: bool = False) -> None:
        """End one component without any warning; :meth:`start_component` starts it again.

        :param alone: let its children live on, as when the system is short of memory and picks one process;
            otherwise everything that it has started ends with it, as when a machine is lost.
        """
        process = self._processes.pop(name)
        if alone:
            process.kill()
            self._orphaned.append(process)
        else:
            while self._lives(process):
                self._signal(process, signal.SIGKILL)
                time.sleep(0.01)
        process.wait()

    def request(self, verb: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call Airflow's REST API as ``admin``, again while its database is busy.

        :param path: below ``/api/v2``.
        :raises LocalAirflowError: Airflow refused.
        """
        if not self._token:
            login = {"username": "admin", "password": self.password}
            self._token = self._send("POST", "/auth/token", login)["access_token"]
        for _ in range(_ATTEMPTS - 1):
            with suppress(_BusyError):
                return self._send(verb, f"/api/v2{path}", body)
            time.sleep(1.0)
        return self._send(verb, f"/api/v2{path}", body)

    def wait_for(self, what: str, done: Any, timeout: float = _TIMEOUT) -> Any:
        """Call ``done`` until it returns something true, and return that.

        What Airflow cannot answer at the moment is asked again.

        :raises LocalAirflowError: a component ended, or the time-out passed.
        """
        deadline = time.monotonic() + timeout
        while not (found := _try(done)):
            for name, process in self._processes.items():
                if process.poll() is not None:
                    raise LocalAirflowError(f"airflow {name} ended with {process.returncode}:\n{self._tail(name)}")
            if time.monotonic() > deadline:
                tails = "\n".join(f"--- {name}\n{self._tail(name)}" for name in self._processes)
                raise LocalAirflowError(f"not after {timeout:.0f} s: {what}\n{tails}")
            time.sleep(0.25)
        return found

    def wait_for_dag(self, dag_id: str) -> None:
        """Return when Airflow has read a DAG."""
        self.wait_for(f"the DAG {dag_id}", lambda: self._knows(dag_id))

    def run_dag(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Wait for a DAG to be known, start a run of it, and return the run's id."""
        self.wait_for_dag(dag_id)
        self.request("PATCH", f"/dags/{dag_id}", {"is_paused": False})
        run = self.request("POST", f"/dags/{dag_id}/dagRuns", {"conf": conf, "logical_date": None})
        return str(run["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return a run's task instances as the REST API shows them."""
        found: list[dict[str, Any]] = self.request("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")[
            "task_instances"
        ]
        return found

    def xcom(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Any:
        """Return what a task instance returned."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        return self.request("GET", f"{path}?map_index={map_index}&deserialize=true")["value"]

    def task_logs(self, part: str = "") -> str:
        """Return the task logs, and what the scheduler says of failures, for a person who wants to know why.

        :param part: only logs whose path holds this text.
        """
        logs = [path for path in sorted(self.home.glob("logs/dag_id=*/**/*.log*")) if part in str(path)]
        reported = [f"--- {path.relative_to(self.home)}\n{path.read_text('utf-8', 'replace')}" for path in logs]
        scheduler = self._log_of("scheduler").read_text("utf-8", "replace").splitlines()
        reported += [line for line in scheduler if "[error" in line or "[warning" in line]
        return "\n".join(reported)

    def _started(self) -> list[subprocess.Popen[bytes]]:
        return [*self._processes.values(), *self._orphaned]

    def _signal(self, component: subprocess.Popen[bytes], number: int) -> None:
        for member in self._members(component):
            with suppress(ProcessLookupError):
                os.kill(member, number)

    def _lives(self, component: subprocess.Popen[bytes]) -> bool:
        component.poll()
        return bool(self._members(component))

    def _members(self, component: subprocess.Popen[bytes]) -> list[int]:
        """Return what runs of a component and its children; Airflow gives each task a process group of its own."""
        home, found = self.home.resolve(), []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended in the meantime, or is somebody else's
                # After the name in brackets, which may hold anything: state, parent, group, session.
                stat = (process / "stat").read_text("utf-8", "replace")
                state, _, _, session = stat.rpartition(")")[2].split()[:4]
                # The number of a session that has ended may be another's by now, but not in this folder.
                if int(session) == component.pid and state not in "ZX" and (process / "cwd").readlink() == home:
                    found.append(int(process.name))
        return found

    def _knows(self, dag_id: str) -> bool:
        try:
            self.request("GET", f"/dags/{dag_id}")
        except _NotReadyError:
            raise
        except LocalAirflowError:
            return False
        return True

    def _answers(self) -> bool:
        try:
            self._send("GET", "/api/v2/version", None)
            return bool(self.password)
        except (LocalAirflowError, OSError, ValueError):
            return False

    def _send(self, verb: str, path: str, body: Mapping[str, Any] | None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address is our own
            self.url + path,
            method=verb,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"},
        )
        try:
            with _OPENER.open(request, timeout=120) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as refusal:
            reported = refusal.read().decode("utf-8", "replace")[:500]
            kind = LocalAirflowError
            if refusal.code >= _SERVER_ERRORS:
                kind = _BusyError if _BUSY in reported else _NotReadyError
            raise kind(f"{verb} {path}: HTTP {refusal.code}: {reported}") from None
        except OSError as trouble:
            raise _NotReadyError(f"{verb} {path}: {trouble}") from None

    def _log_of(self, name: str) -> Path:
        return self.home / f"{name}.out"

    def _tail(self, name: str) -> str:
        return "\n".join(self._log_of(name).read_text("utf-8", "replace").splitlines()[-_LAST_LINES:])


_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _try(done: Any) -> Any:
    try:
        return done()
    except _NotReadyError:
        return None


def _reserve_port() -> socket.socket:
    """Return a socket that holds a free port without listening; a server that reuses addresses can."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    return held


@contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Ignore a second Ctrl-C while the processes are stopped."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
