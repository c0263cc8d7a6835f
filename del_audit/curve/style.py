"""How Matplotlib draws for a page: as an svg element in the page's colours and fonts, the same bytes every time."""

import io
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from del_audit.show.numbers import printable

INK, MUTED, RULE = (f"#0{i}0{i}0{i}" for i in range(1, 4))
VARIABLES = {
    INK: "var(--ink, #1c1c1a)",
    MUTED: "var(--muted, #6b6a64)",
    RULE: "var(--rule, #d9d7ce)",
}
"""Colours that nobody sees: each stands for a colour of the page, so that light and dark need one figure."""

STYLE: dict[str, str | float | list[str]] = {
    "svg.hashsalt": "del-audit",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.color": RULE,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"


def inline(name: str, title: str, described: str, size: tuple[float, float], draw: Callable[[Canvas], None]) -> str:
    """Returns what `draw` drew as an svg element with title and description, ids of its own and no size of its own."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)  # type: ignore[arg-type]
        canvas = Canvas(figsize=size, layout="constrained")
        draw(canvas)
        stream = io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        FigureCanvasSVG(canvas)
        canvas.savefig(stream, format="svg", metadata=nothing, transparent=True)
    root = ElementTree.fromstring(stream.getvalue())
    for parent in root.iter():
        for child in [c for c in parent if c.tag in (f"{_SVG}metadata", f"{_SVG}style")]:
            parent.remove(child)
    for element in root.iter():
        _adopt(element, name)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.attrib.update({"xmlns": _SVG[1:-1], "role": "img", "aria-labelledby": f"{name}-title {name}-desc"})
    for place, (tag, text) in enumerate((("title", title), ("desc", described))):
        child = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        child.text = printable(text)
        root.insert(place, child)
    return ElementTree.tostring(root, encoding="unicode")


def _adopt(element: ElementTree.Element, name: str) -> None:
    """Makes an element part of the page: no namespace prefix, the figure's own ids, the page's colours and font."""
    element.tag = element.tag.removeprefix(_SVG)
    for key, value in list(element.attrib.items()):
        if key.startswith("{"):
            del element.attrib[key]
        if key == "id":
            value = f"{name}-{value}"
        elif key == f"{_LINK}href":
            key, value = "href", value.replace("#", f"#{name}-", 1)
        elif key == "style":
            value = "; ".join(part for part in value.split("; ") if not part.startswith("font-family"))
            value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
            for colour, variable in VARIABLES.items():
                value = value.replace(colour, variable)
        element.attrib[key] = re.sub(r"url\(#", f"url(#{name}-", value)
