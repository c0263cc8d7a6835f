"""`del-audit curve`: trade-off and privacy curves of several releases as a page or a picture."""

from collections.abc import Sequence
from pathlib import Path

from del_audit.certificate.table import at_most, number, printable
from del_audit.curve.curves import Picture, Release
from del_audit.curve.figure import png, svg
from del_audit.curve.page import page
from mechanisms.errors import UserError
from mechanisms.files import write_file

SUFFIXES = (".html", ".svg", ".png")


def draw_curves(specs: Sequence[str], delta: float, out: Path) -> int:
    """Writes the picture of the specs (`Release.parse`) to out, prints one line, and returns 0.

    out: .svg and .png are pictures; .html shows every curve's value under the pointer and needs no network. The file
    is complete or not there. Raises UserError for another suffix, what cannot be written, and as `Picture.of` does.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"Expected --out to end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, got {str(out)!r}.")
    picture = Picture.of([Release.parse(text) for text in specs], delta)
    write_file(out, rendered(picture, suffix), what="--out to be a file")
    figures = "; ".join(
        f"{printable(c.release.name)} ({c.release.unit_text}) <= {at_most(c.epsilon.upper)}" for c in picture.curves
    )
    print(f"Written: {printable(out)} (exact epsilon in nats at delta {number(delta)}: {figures})")
    return 0


def rendered(picture: Picture, suffix: str) -> bytes:
    """Returns the picture as the bytes of an .html, .svg or .png file, the same for the same picture."""
    if suffix == ".png":
        return png(picture)
    return (svg(picture) if suffix == ".svg" else page(picture)).encode()
