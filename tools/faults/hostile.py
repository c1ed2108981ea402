"""How a valid document becomes a hostile one: strange values in random places, bytes flipped, cut and put in."""

import json
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

STRANGE: tuple[Any, ...] = (
    *(None, True, 0, -1, 1, 10**12, 2**63, 1e308, -0.5, "", "x", "9" * 30, "../../x", "/etc/passwd"),
    *(".", "**", "*.jsonl", "a/../../b", "C:\\x", "\\\\host\\x"),
    *("<script>alert(1)</script>", "a\0b", "COM1", "\ud800", "é\n", "x" * 5000, [], {}, [[]], {"a": 1}),
    *([10**12, 10**12], [-1, 2], ["../x"], {"../x": 1}, "model.safetensors", "!!python/object:os.system"),
)  # fmt: skip


def changed(value: Any, random: Random) -> Any:
    """Return a JSON value with one to three strange places."""
    value = deepcopy(value)
    for _ in range(random.randint(1, 3)):
        if not isinstance(value, dict | list) or not value:
            return random.choice(STRANGE)
        node, steps = value, random.randint(0, 4)
        for _ in range(steps):
            inside = node.values() if isinstance(node, dict) else node
            below = [v for v in inside if isinstance(v, dict | list) and v]
            if not below:
                break
            node = random.choice(below)
        key = random.choice(list(node) if isinstance(node, dict) else range(len(node)))
        what = random.random()
        if what < 0.2:
            del node[key]
        elif what < 0.3 and isinstance(node, dict):
            node[str(random.choice(STRANGE))] = random.choice(STRANGE)
        else:
            node[key] = deepcopy(random.choice(STRANGE))
        if not node:
            break
    return value


def mangled(whole: bytes, random: Random) -> bytes:
    """Return bytes with some flipped, cut, repeated or put in."""
    found = bytearray(whole)
    for _ in range(random.randint(1, 3)):
        at = random.randrange(len(found) + 1)
        what = random.randrange(5)
        if what == 0 and at < len(found):
            found[at] ^= 1 << random.randrange(8)
        elif what == 1:
            del found[at : at + random.randint(1, 20)]
        elif what == 2:
            found[at:at] = random.choice([b"\0", b"[" * 700, b"{", b"'", b"&a *a", b"\xff", b"!!"])
        elif what == 3:
            found[at:at] = found[at : at + random.randint(1, 40)]
        else:
            del found[at:]
    return bytes(found)


def put_json(path: Path, value: Any, random: Random) -> None:
    """Write a changed value, sometimes with changed bytes as well."""
    text = json.dumps(changed(value, random)).encode()
    path.write_bytes(mangled(text, random) if random.random() < 0.3 else text)
