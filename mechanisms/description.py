"""What describes a mechanism completely. Nothing heavy is imported for it: whoever verifies a certificate reads it."""

from typing import Protocol, runtime_checkable

from mechanisms.canonical_json import Json


@runtime_checkable
class Description(Protocol):
    """A frozen, complete description of a mechanism: no tensors, so that it can be accounted for, hashed and sent."""

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name the description: sha256 of its fields in canonical JSON."""
        ...

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        ...
