"""Workers that are processes of this machine."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from del_audit.workers.hands import Hands
from del_audit.workers.work import Files, Part, Work
from del_audit.workers.worker import Worker

_LOOKS_EVERY = 1.0
"""Seconds between a worker's looks at whether the command that it works for is still there."""
_ENDS_WITHIN = 5.0
"""Seconds that an ended worker is waited for."""
_NO_BARS = "TQDM_DISABLE"
_worker: Worker | None = None


class ProcessHands:
    """One process for each worker, so that one that dies takes no other part with it; another takes its place."""

    def __init__(self, work: Work, count: int, inside: Path) -> None:
        self._begin = (work, max(1, (os.cpu_count() or 1) // count), inside)
        self._executors = [self._executor() for _ in range(count)]
        self._idle, self._flying = list(range(count)), dict["Future[Files]", int]()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._executors)

    @property
    def idle(self) -> int:
        """How many of them can be given a part now."""
        return len(self._idle)

    def send(self, part: Part) -> int:
        """Gives a part to a free worker, and returns the worker's number."""
        number = self._idle.pop()
        self._flying[self._executors[number].submit(_make, part)] = number
        return number

    def wait(self) -> tuple[int, Files | Exception]:
        """Waits for a worker and returns its number, with the files of its part or what went wrong."""
        done, _ = wait(self._flying, return_when=FIRST_COMPLETED)
        future = done.pop()
        number = self._flying.pop(future)
        self._idle.append(number)
        try:
            return number, future.result()
        except BrokenProcessPool as error:
            self._executors[number].shutdown(wait=False)
            self._executors[number] = self._executor()
            return number, error
        except Exception as error:  # whatever a part raises is the caller's to judge
            return number, error

    def close(self) -> None:
        """Ends all workers, whatever they are doing."""
        processes = [process for executor in self._executors for process in _processes_of(executor)]
        for executor in self._executors:
            executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(_ENDS_WITHIN)

    def _executor(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, self._begin)


def _processes_of(executor: ProcessPoolExecutor) -> list[BaseProcess]:
    """Returns an executor's processes, which Python names in public from 3.14 on (terminate_workers)."""
    return list((executor._processes or {}).values())


@contextmanager
def process_hands(work: Work, count: int, inside: Path) -> Iterator[Hands]:
    """Gives so many workers, which end with the block. inside: a private folder for theirs."""
    with _without_bars():
        hands = ProcessHands(work, count, inside)
        try:
            yield hands
        finally:
            hands.close()


@contextmanager
def _without_bars() -> Iterator[None]:
    """Has processes that start inside show no bars, which would mix; tqdm asks its environment when it is imported."""
    before = os.environ.get(_NO_BARS)
    os.environ[_NO_BARS] = "1"
    try:
        yield
    finally:
        del os.environ[_NO_BARS]
        if before is not None:
            os.environ[_NO_BARS] = before


def _begin(work: Work, threads: int, inside: Path) -> None:
    """Readies a process; what is expensive waits for its first part, so that an error is that part's."""
    global _worker  # a process of a pool has no other place for what its calls share
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command ends its workers
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    _worker = Worker(work, threads, inside)


def _make(part: Part) -> Files:
    assert _worker is not None
    return _worker.make(part)


def _end_with(parent: int) -> None:
    """Ends this process when its parent, which may be killed without a word, is gone."""
    while os.getppid() == parent:
        time.sleep(_LOOKS_EVERY)
    os._exit(1)
