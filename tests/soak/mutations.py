"""Damages files: bytes of any file, and nodes of JSON."""

import copy
import gzip
import json
import random
from collections.abc import Callable

ODD_VALUES = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**400, 1e308, -1e308, 1e-320, 0.5, float('nan'),
    float('inf'),
    '', '0', 'x', '\x00', '\ud800', 'A' * 5000, [], {}, [[]], [None], {'': None}, [0] * 7, [[0, 0], [1, 1]],
    [1e9, -1e9] * 3,
)  # fmt: skip
ODD_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFF, 0x8000, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)
ODD_TEXTS = (
    b'[' * 100_000,
    b'9' * 5000,
    b'{"a":' * 30_000,
    b'NaN',
    b'Infinity',
    b'-Infinity',
    b'1e999',
    b'\xff\xfe',
    b'"',
)


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Damages a file in one of many ways."""
    structured = _as_json(data)
    if structured is not None and rng.random() < 0.6:
        packed, value = structured
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            value = _changed_node(value, rng)
        try:
            text = json.dumps(value).encode('utf-8', 'surrogatepass')
        except ValueError:  # an integer of too many digits for Python to write
            return data[: rng.randrange(len(data))]
        return gzip.compress(text) if packed else text
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        data = rng.choice(BYTE_MUTATIONS)(data, rng)
    return data


def _as_json(data: bytes) -> tuple[bool, object] | None:
    packed = data[:2] == b'\x1f\x8b'
    try:
        return packed, json.loads(gzip.decompress(data) if packed else data)
    except ValueError:
        return None


def _changed_node(value: object, rng: random.Random) -> object:
    """Replaces, removes, repeats or moves one node of a JSON value."""
    nodes = [(None, None)]
    pending = [value]
    while pending:
        node = pending.pop()
        keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in keys:
            nodes.append((node, key))
            pending.append(node[key])
    parent, key = rng.choice(nodes)
    if parent is None:
        return _odd_value(rng) if rng.random() < 0.1 else [value]
    other_parent, other_key = rng.choice(nodes)
    choice = rng.random()
    if choice < 0.55:
        parent[key] = _odd_value(rng)
    elif choice < 0.75:
        del parent[key]
    elif choice < 0.85 and isinstance(parent, list):
        parent.insert(key, json.loads(json.dumps(parent[key])))
    elif other_parent is not None:
        parent[key] = json.loads(json.dumps(other_parent[other_key]))
    return value


def _odd_value(rng: random.Random) -> object:
    """Return a copy, because later mutations change it: shared lists would end up inside themselves."""
    return copy.deepcopy(rng.choice(ODD_VALUES))


def _flip(data: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]


def _number(data: bytes, rng: random.Random) -> bytes:
    """An odd number of 1 to 8 bytes, most often near the beginning, where headers are."""
    size = rng.choice((1, 2, 4, 8))
    place = rng.randrange(max(1, min(len(data), rng.choice((64, 512, len(data) or 1)))))
    number = (rng.choice(ODD_NUMBERS) % 256**size).to_bytes(size, rng.choice(('little', 'big')))
    return data[:place] + number + data[place + size :]


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _remove(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 2, 4, 16, 100)) :]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    piece = data[start : start + rng.choice((1, 4, 50, 1000))]
    return data[:start] + piece * rng.choice((2, 3, 20)) + data[start:]


def _insert(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(data) + 1)
    piece = rng.choice(ODD_TEXTS) if rng.random() < 0.3 else rng.randbytes(rng.choice((1, 4, 30)))
    return data[:place] + piece + data[place:]


def _exchange(data: bytes, rng: random.Random) -> bytes:
    size = rng.choice((1, 2, 4, 8))
    one, other = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    piece = data[one : one + size]
    return data[:other] + piece + data[other + len(piece) :]


BYTE_MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _flip, _number, _number, _cut, _remove, _repeat, _insert, _exchange,
)  # fmt: skip
