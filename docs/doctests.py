"""An extension of the API pages: examples in docstrings become code; Markdown would take `>>>` for a quotation."""

from typing import Any

from griffe import Docstring, Extension, Object


class Doctests(Extension):
    """Fences the doctests of every docstring."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrites the docstring of an object that was read."""
        if obj.docstring is not None and ">>> " in obj.docstring.value:
            obj.docstring = Docstring(fenced(obj.docstring.value), lineno=obj.docstring.lineno, parent=obj)


def fenced(text: str) -> str:
    """Returns text with a fence around each doctest, which runs from its prompt to an empty line."""
    lines: list[str] = []
    inside = False
    for line in [*text.splitlines(), ""]:
        if line.startswith(">>> ") and not inside:
            lines.append("```pycon")
            inside = True
        elif not line.strip() and inside:
            lines.append("```")
            inside = False
        lines.append(line)
    return "\n".join(lines[:-1])
