"""Requests that nobody would send: good ones with bytes or values changed, by an explicit generator."""

import copy
import json

import msgpack

BYTES = (b"", b"\0", b"\xff", b'"', b"{", b"[", b"\n\n", b"null", b"1e999", b"\\ud800", b"-1", b"9" * 400, b"\xc1")
VALUES = (
    None,
    True,
    False,
    0,
    -1,
    2**53,
    2**70,
    10**400,
    0.5,
    5e-324,
    1e308,
    float("inf"),
    float("nan"),
    "",
    "\0",
    "\ud800",
    "user",
    "x" * 5_000,
    [],
    [[]],
    [None],
    {},
    {"": None},
    {"role": []},
)
PACKED = (
    *(value for value in VALUES if value not in (2**70, 10**400, "\ud800")),
    b"",
    b"x" * 16,
    b"\xff" * 5_000,
)


def changed_bytes(data, generator):
    """Returns bytes with one to four places changed: another byte, some left out, some more, or some twice."""
    found = bytearray(data)
    for _ in range(generator.integers(1, 5)):
        at = int(generator.integers(0, len(found) + 1))
        end = min(len(found), at + int(generator.integers(0, 9)))
        kind = generator.integers(0, 5)
        if kind == 0 and found:
            found[min(at, len(found) - 1)] = generator.integers(0, 256)
        elif kind == 1:
            del found[at:end]
        elif kind == 2:
            found[at:at] = BYTES[generator.integers(0, len(BYTES))]
        elif kind == 3:
            found[at:at] = found[at:end]
        else:
            found[at:end] = generator.bytes(end - at)
    return bytes(found)


def changed_value(content, generator, values):
    """Returns a copy of nested lists and dicts in which one place has another value, is gone, or stands twice."""
    found = copy.deepcopy(content)
    places = list(_places(found))
    inside, key = places[generator.integers(0, len(places))]
    kind = generator.integers(0, 6)
    if kind == 0:
        del inside[key]
    elif kind == 1 and isinstance(inside, list):
        inside.insert(key, copy.deepcopy(inside[key]))
    elif kind == 1:
        inside[str(key) + "s"] = inside[key]
    else:
        inside[key] = copy.deepcopy(values[generator.integers(0, len(values))])
    return found


def _places(content):
    keys = range(len(content)) if isinstance(content, list) else list(content)
    for key in keys:
        yield content, key
        if isinstance(content[key], (list, dict)) and content[key]:
            yield from _places(content[key])


def changed_json(content, generator):
    """Returns a body of JSON, changed in its values, its bytes, or both."""
    if generator.random() < 0.7:
        content = changed_value(content, generator, VALUES)
    data = json.dumps(content).encode()
    return changed_bytes(data, generator) if generator.random() < 0.5 else data


def changed_packed(data, generator):
    """Returns a body of msgpack, changed in its values, its bytes, or both."""
    if generator.random() < 0.7:
        data = msgpack.packb(changed_value(msgpack.unpackb(data), generator, PACKED))
    return changed_bytes(data, generator) if generator.random() < 0.5 else data
