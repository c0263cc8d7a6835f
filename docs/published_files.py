"""A hook of the site: files of the project that pages link to, such as the certificate's schema, become part of it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

DOCS = Path(__file__).parent
ROOT = DOCS.parent
FOLDER = "project"
_LINK = re.compile(r"(?<=\]\()((?:\.\./)+[^)#\s]+)(?=\))")


def on_files(files: Files, config: Any) -> Files:
    """Returns the site's files with those outside docs/ that a page links to."""
    for page in list(files.documentation_pages()):
        for path in _outside(page.content_string, page.src_uri):
            name = f"{FOLDER}/{path.relative_to(ROOT).as_posix()}"
            if files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Returns a page whose links out of docs/ lead to where the site has those files."""
    here = (DOCS / page.file.src_uri).parent

    def moved(found: re.Match[str]) -> str:
        path = (here / found[1]).resolve()
        if not _is_outside(path):
            return found[1]
        return Path(os.path.relpath(DOCS / FOLDER / path.relative_to(ROOT), here)).as_posix()

    return _LINK.sub(moved, markdown)


def _outside(markdown: str, src_uri: str) -> Iterator[Path]:
    paths = ((DOCS / src_uri).parent / target for target in _LINK.findall(markdown))
    yield from filter(_is_outside, (path.resolve() for path in paths))


def _is_outside(path: Path) -> bool:
    return path.is_relative_to(ROOT) and not path.is_relative_to(DOCS) and path.is_file()
