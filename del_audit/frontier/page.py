"""The result as one HTML page that needs no network: the pictures, what a pointer reads of them, and the tables."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from del_audit.frontier.picture import STYLE, Picture
from del_audit.frontier.result_tables import Columns
from del_audit.show import readout
from del_audit.show.numbers import number

TEMPLATE = Path(__file__).with_name("page.html.j2")


def page(document: Mapping[str, Any], pictures: Sequence[Picture], tables: Sequence[Columns]) -> str:
    """Returns the page as text, the same for the same result; all of its text is escaped."""
    return _template().render(
        d=document,
        delta=number(document["delta"]),
        pictures=pictures,
        data=[each.panel.data(each.name) for each in pictures],
        tables=tables,
        style=Markup(STYLE.read_text(encoding="utf8")),
        script=Markup(readout.script()),
        script_source=Markup(readout.source(readout.script())),
    )


@cache
def _template() -> Template:
    loader = FileSystemLoader(TEMPLATE.parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(TEMPLATE.name)
