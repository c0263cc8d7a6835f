"""The one seam: before a command's own loop, workers fill its run's folder with the parts that are missing."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from del_audit.runs import Parts
from del_audit.workers.hands import Hands, results
from del_audit.workers.work import Files, Part, Work
from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, new_folder, write_file
from mechanisms.private_folders import MARKER, remove_private

FOLDER = "workers"
MOST = 512


@dataclass(frozen=True, slots=True)
class Workers:
    """What a user asks for. count: processes, or actors of a cluster; None for one, or as many as the cluster has.

    ray: the cluster's address; None for this machine. gpus: of each actor. Raises UserError for values out of range.
    """

    count: int | None = None
    ray: str | None = None
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.count is not None and not 1 <= self.count <= MOST:
            raise UserError(f"Expected --workers in 1..{MOST}, got --workers {self.count}.")
        if not 0 <= self.gpus <= 64:
            raise UserError(f"Expected --gpus-per-worker in [0, 64], got {self.gpus:g}.")
        if self.gpus and self.ray is None:
            raise UserError("Expected --gpus-per-worker with --ray: processes of one machine share its GPUs.")

    @property
    def several(self) -> bool:
        """Whether there is anybody to give parts to."""
        return self.ray is not None or (self.count or 1) > 1


class Filling:
    """Workers for one run. hands: None where the command does all itself."""

    def __init__(self, run: Parts, hands: Hands | None) -> None:
        self._run, self._hands = run, hands

    @property
    def there(self) -> bool:
        """Whether there is anybody to fill it."""
        return self._hands is not None

    def fill(self, parts: Sequence[Part], unit: str, stop: Callable[[], bool] = lambda: False) -> None:
        """Has the parts made, and keeps the files of each as they come; does nothing without workers.

        unit: of the bar. stop: asked before each part; once it is so, no more are begun. Raises UserError as `results`
        does.
        """
        if self._hands is None or not parts:
            return
        with tqdm(total=len(parts), desc=f"{self._hands.count} workers", unit=unit) as bar:
            for part, files in results(self._hands, parts, stop):
                keep(self._run, files)
                bar.set_postfix_str(part.name, refresh=False)
                bar.update()


@contextmanager
def filling(workers: Workers, work: Work, run: Parts) -> Iterator[Filling]:
    """Gives what fills the run, with workers that end with the block; raises UserError as their start does."""
    if not workers.several:
        yield Filling(run, None)
    elif workers.ray is not None:
        from del_audit.workers.cluster import ray_hands

        with ray_hands(work, workers.ray, workers.count, workers.gpus) as hands:
            yield Filling(run, hands)
    else:
        from del_audit.workers.processes import process_hands

        with _own(run.folder / FOLDER) as inside, process_hands(work, workers.count or 1, inside) as hands:
            yield Filling(run, hands)


@contextmanager
def _own(folder: Path) -> Iterator[Path]:
    """Gives a private folder, empty, which is removed with the block."""
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        for listed in folder.glob("*/*"):
            if (listed / MARKER).exists():
                remove_private(listed)
        shutil.rmtree(folder, ignore_errors=True)


def keep(run: Parts, files: Files) -> None:
    """Writes a part's files into the run's folder: whole folders first, then single files; what is there stays.

    Raises UserError for a path that leads out of it, and where nothing can be written.
    """
    paths = {name: PurePosixPath(name) for name in files}
    if wrong := [name for name, path in paths.items() if path.is_absolute() or ".." in path.parts]:
        raise UserError(f"Expected files inside the run's folder from a worker, got {wrong[0][:100]!r}.")
    folders = {path.parts[:2] for path in paths.values() if len(path.parts) > 2}
    for parts in sorted(folders):
        folder = run.folder.joinpath(*parts)
        if folder.exists():
            continue
        folder.parent.mkdir(exist_ok=True)
        with new_folder(folder, mode=PRIVATE) as beside:
            for name, path in paths.items():
                if path.parts[:2] == parts:
                    inside = beside.joinpath(*path.parts[2:])
                    inside.parent.mkdir(parents=True, exist_ok=True)
                    inside.write_bytes(files[name])
    for name, path in paths.items():
        if len(path.parts) <= 2 and not (run.folder / name).exists():
            write_file(run.folder / name, files[name], mode=PRIVATE)
