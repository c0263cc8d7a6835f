"""One worker: it loads what parts share once, in a folder of its own, and gives back the files of each part."""

import shutil
from pathlib import Path
from tempfile import mkdtemp

from del_audit.runs import SETTINGS
from del_audit.workers.work import Bench, Files, Part, Work
from mechanisms.private_folders import MARKER, remove_private
from mechanisms.registry import imported


class Worker:
    """Makes parts of one kind of work. inside: where its folder is made; None for the system's place.

    threads: of torch, at most. The folder is its owner's alone; `close` removes it, and one that a lost
    worker left is listed by `del-audit private`.
    """

    def __init__(self, work: Work, threads: int, inside: Path | None = None) -> None:
        self._work, self._threads = work, threads
        self._folder = Path(mkdtemp(prefix="worker-", dir=inside))
        self._bench: Bench | None = None

    def make(self, part: Part) -> Files:
        """Returns the files that the part made; raises UserError as the bench does."""
        bench = self._loaded()
        before = _files(bench.run.folder)
        bench.make(part.asked)
        return {name: path.read_bytes() for name, path in _files(bench.run.folder).items() if name not in before}

    def close(self) -> None:
        """Removes its folder, and takes it off the list of private folders."""
        if self._bench is not None:
            remove_private(self._bench.run.folder)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _loaded(self) -> Bench:
        if self._bench is None:
            import torch

            from del_audit.process.quiet import silence_libraries

            torch.set_num_threads(self._threads)
            silence_libraries()
            made: Bench = imported(self._work.made_by)(self._folder, self._work.about)
            self._bench = made
        return self._bench


def _files(folder: Path) -> dict[str, Path]:
    return {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (SETTINGS, MARKER)
    }
