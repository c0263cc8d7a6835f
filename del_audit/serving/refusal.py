"""What proxy and server say where they do not do what is asked: a status, a code and a sentence, nothing private."""

from dataclasses import dataclass


@dataclass(eq=False)
class RefusalError(Exception):
    """A request that is refused. status: of HTTP. code: for programs. said: for people, without anything private.

    param: the field that it is about. retry_after: seconds after which it may be asked again.
    """

    status: int
    code: str
    said: str
    param: str | None = None
    retry_after: int | None = None

    def __str__(self) -> str:
        return self.said
