"""Workers that are actors of a Ray cluster."""

import logging
import platform
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import Any

from del_audit.service.provenance import commit, versions
from del_audit.workers.hands import TRIES, Hands
from del_audit.workers.work import Files, Part, Work
from del_audit.workers.worker import Worker
from mechanisms.errors import UserError, first_line

AUTO = "auto"
ANSWER = 10.0
"""Seconds in which the address must answer."""
START = 120.0
"""Seconds in which workers must have started."""
_ASKS = """
import logging, os, sys
import ray
print("ready", flush=True)
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
os._exit(0)
"""


class RayWorker:
    """A worker on some machine of the cluster."""

    def __init__(self, work: Work, threads: int) -> None:
        self._worker = Worker(work, threads)

    def about(self) -> dict[str, str]:
        """Returns what must be the same everywhere."""
        return _about()

    def make(self, part: Part) -> Files:
        """Returns the files of a part."""
        return self._worker.make(part)

    def close(self) -> None:
        """Removes the worker's folder."""
        self._worker.close()


class RayHands:
    """Actors; in place of one that is lost with its machine another is started, wherever there is room.

    ray: the module, which is an extra. start: starts an actor. One that does not start TRIES times is given up.
    """

    def __init__(self, ray: Any, start: Callable[[], Any], count: int) -> None:
        self._ray, self._start, self._failures = ray, start, Counter[int]()
        self._actors = [start() for _ in range(count)]
        self._idle, self._flying = list(range(count)), dict[Any, int]()
        self._starting = dict[Any, int]()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._actors)

    @property
    def idle(self) -> int:
        """How many of them can be given a part now."""
        return len(self._idle)

    def abouts(self) -> list[dict[str, str]]:
        """Returns what each says of itself, once all have started; raises Ray's errors where they do not."""
        found: list[dict[str, str]] = self._ray.get([actor.about.remote() for actor in self._actors], timeout=START)
        return found

    def send(self, part: Part) -> int:
        """Gives a part to a free worker, and returns the worker's number."""
        number = self._idle.pop()
        self._flying[self._actors[number].make.remote(part)] = number
        return number

    def wait(self) -> tuple[int, Files | Exception] | None:
        """Waits for a worker and returns its number, with the files of its part or what went wrong.

        None where a worker is there again, or given up. Raises UserError where none is left and none is there again in
        START, and for a worker that is there again in another version.
        """
        due = [*self._flying, *self._starting]
        done = self._ray.wait(due, num_returns=1, timeout=None if self._flying else START)[0] if due else []
        if not done:
            raise UserError(
                f"Expected a worker within {START:g} s after all were lost, got none. Finished parts are kept: start "
                "the same command again when the cluster has room."
            )
        if done[0] in self._starting:
            self._started(done[0])
            return None
        number = self._flying.pop(done[0])
        try:
            files: Files = self._ray.get(done[0])
        except self._ray.exceptions.RayTaskError as error:
            self._idle.append(number)
            cause: Exception = error.cause
            return number, cause
        except self._ray.exceptions.RayError as error:
            self._replace(number)
            return number, error
        self._idle.append(number)
        return number, files

    def _replace(self, number: int) -> None:
        self._actors[number] = self._start()
        self._starting[self._actors[number].about.remote()] = number

    def _started(self, ready: Any) -> None:
        number = self._starting.pop(ready)
        try:
            there = self._ray.get(ready)
        except self._ray.exceptions.RayError:
            self._failures[number] += 1
            if self._failures[number] < TRIES:
                self._replace(number)
            return
        require_same(there)
        self._failures[number] = 0
        self._idle.append(number)

    def close(self) -> None:
        """Ends all actors and removes their folders, where they answer."""
        with suppress(Exception):
            self._ray.get([actor.close.remote() for actor in self._actors], timeout=ANSWER)
        for actor in self._actors:
            with suppress(Exception):
                self._ray.kill(actor)


@contextmanager
def ray_hands(work: Work, address: str, count: int | None, gpus: float) -> Iterator[Hands]:
    """Gives workers on a Ray cluster, which end with the block.

    address: host:port, ray://host:port, or auto for the cluster of this machine. count: of workers; None for as many as
    there are GPUs, or CPUs where gpus is 0. gpus: of each, may be a part of one.
    Raises UserError without Ray, for an address that does not answer, for workers that do not start, and where another
    version of del-audit or of what its figures depend on is installed on theirs.
    """
    ray = _connected(address)
    try:
        kind, each = ("GPU", gpus) if gpus else ("CPU", 1.0)
        there = float(ray.cluster_resources().get(kind, 0))
        if there < each:
            raise UserError(f"Expected a cluster with {each:g} {kind} or more for a worker, got {there:g}.")
        wanted = count or max(1, int(there // each))
        threads = max(1, int(float(ray.cluster_resources().get("CPU", 1)) // wanted))
        made = ray.remote(num_cpus=0 if gpus else 1, num_gpus=gpus)(RayWorker)
        hands = RayHands(ray, lambda: made.remote(work, threads), wanted)
        try:
            _require_started(ray, hands)
            yield hands
        finally:
            hands.close()
    finally:
        ray.shutdown()


def _connected(address: str) -> Any:
    try:
        import ray
    except ImportError:
        raise UserError("Expected Ray for --ray, which is not installed: install del-audit[ray].") from None
    if address != AUTO:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not host or not port.isdecimal():
            raise UserError(f"Expected --ray as host:port, ray://host:port or auto, got {address[:100]!r}.")
        try:
            socket.create_connection((host, int(port)), timeout=ANSWER).close()
        except OSError as error:
            raise UserError(
                f"Expected a Ray cluster at --ray {address}, which did not answer in {ANSWER:g} s: {error}. "
                "Start one with `ray start --head`."
            ) from None
    _require_answer(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"Expected a Ray cluster at --ray {address}, got: {first_line(error)}") from None
    return ray


def _require_answer(address: str) -> None:
    """Raises UserError for an address that does not speak in ANSWER seconds: asked by a process that can be ended.

    Ray itself asks on and on where a port takes a connection and says nothing.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _ASKS, address], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as asks:
        assert asks.stdout is not None
        asks.stdout.readline()  # Ray is imported: what is waited for now is the cluster
        try:
            _, said = asks.communicate(timeout=ANSWER)
        except subprocess.TimeoutExpired:
            asks.kill()
            raise UserError(
                f"Expected a Ray cluster at --ray {address}, which did not answer in {ANSWER:g} s. Start one with "
                "`ray start --head`."
            ) from None
        except BaseException:
            asks.kill()
            raise
    if asks.returncode:
        why = said.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise UserError(f"Expected a Ray cluster at --ray {address}, got: {why[-1][:300]}")


def _require_started(ray: Any, hands: RayHands) -> None:
    """Raises UserError for workers that do not start, and for other versions there than here."""
    try:
        found = hands.abouts()
    except ray.exceptions.GetTimeoutError:
        raise UserError(
            f"Expected {hands.count} workers to start within {START:g} s, got fewer: the cluster has too few free CPUs "
            "or GPUs. Ask for fewer --workers."
        ) from None
    except ray.exceptions.RayError as error:
        raise UserError(f"Expected workers to start, got {first_line(error)}. Is del-audit installed there?") from None
    for there in found:
        require_same(there)


def require_same(there: Mapping[str, str]) -> None:
    """Raises UserError for a worker whose versions, as `RayWorker.about` says them, are not those of here."""
    here = _about()
    if other := [name for name in here if here[name] != there.get(name)]:
        said = ", ".join(f"{name} {there.get(name)} there and {here[name]} here" for name in other)
        raise UserError(f"Expected workers of this version, got {said}. Install the same everywhere.")


def _about() -> dict[str, str]:
    return {**versions(), "python": platform.python_version(), "ray": version("ray"), "commit": commit()}
