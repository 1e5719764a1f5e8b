"""Golden vectors of registers, signed or not, and of keys: what a device takes, in any language.

registers.json  texts, with what they hold, or that they are refused; what a device signs for a new key;
                and the key of an answer in the outbox
"""

import tomllib
from typing import Any

from hedgerow.client.secure.register_file import register_line
from hedgerow.client.secure.signed_register import appoint, head, sign, verify
from hedgerow.node.keys import rotation_message
from hedgerow.node.outbox import key_of
from hedgerow.secure.errors import Malformed
from hedgerow.secure.primitives import Secret, identity_key
from hedgerow.secure.register import parse_register

_FEDERATION = "0123456789abcdef"
_FIRST, _SECOND, _STRANGER = (Secret(bytes([i]) * 31 + b"\1") for i in (1, 2, 3))
_NAMES = ("kitchen", "phone-1", 'a "b" \\ é', "münchen 😀", "3.5", "phone 2")


def _plain() -> str:
    lines = [
        register_line(name, identity_key(Secret(bytes([7]) * 31 + bytes([i]))))
        for i, name in enumerate(_NAMES)
    ]
    return "# devices of the greenhouse\n\n" + "\n".join(lines) + "\n"


def _cases() -> dict[str, tuple[str, str | None]]:
    """`{what: (text, the known administrator)}`."""
    first, second, stranger = (identity_key(key).hex() for key in (_FIRST, _SECOND, _STRANGER))
    plain = _plain()
    signed = sign(plain, _FIRST, version=3, federation=_FEDERATION)
    handed = sign(appoint(signed, _FIRST, _SECOND), _SECOND, version=4, federation=_FEDERATION)
    unearned = sign(appoint(signed, _STRANGER, _SECOND), _SECOND, version=4, federation=_FEDERATION)
    return {
        "unsigned": (head(0, _FEDERATION) + plain, None),
        "signed": (signed, first),
        "signed, by a key that is not known yet": (signed, None),
        "signed by another": (signed, stranger),
        "changed": (signed.replace("phone 2", "phone 3"), first),
        "another version": (signed.replace("version 3", "version 9"), first),
        "a line below": (signed + 'shed = "' + "9f" * 32 + '"\n', first),
        "handed over": (handed, first),
        "handed over, and the new key is known": (handed, second),
        "handed over by a stranger": (unearned, first),
        "of nobody": (sign("", _FIRST, version=1, federation=_FEDERATION), first),
    }


def registers() -> Any:
    """All of it."""
    texts = {
        "a comment behind": f'kitchen = "{"9f" * 32}"  # the old one\n',
        "literal": f"'it' = '{'9F' * 32}'\r\n",
        "escaped": f'"\\u00e9\\t\\U0001F600" = "{"9f" * 32}"',
        "twice": f'a = "{"9f" * 32}"\na = "{"8f" * 32}"\n',
        "one key for two": f'a = "{"9f" * 32}"\nb = "{"9f" * 32}"\n',
        "weak": f'a = "{"00" * 32}"\n',
        "short": 'a = "9f"\n',
        "a table": f'[a]\nb = "{"9f" * 32}"\n',
        "a number": "a = 1\n",
        "no end": 'a = "9f\n',
        "no such escape": f'"\\x41" = "{"9f" * 32}"\n',
        "half a pair": f'"\\ud800" = "{"9f" * 32}"\n',
    }
    return {
        "signed": {what: _verified(*case) for what, case in _cases().items()},
        "texts": {what: {"text": text, "keys": _parsed(text)} for what, text in texts.items()},
        "rotation": rotation_message(_FEDERATION, "münchen", "-----BEGIN\n").hex(),
        "answers": [[kind, run, key_of(kind, run, b"x\0")] for kind, run in (("train", "a" * 32), ("é", ""))],
    }


def _verified(text: str, administrator: str | None) -> Any:
    told = {"text": text, "administrator": administrator, "keys": _parsed(text)}
    try:
        found = verify(text, administrator)
    except Malformed:
        return {**told, "found": None}
    return {**told, "found": [found.version, found.federation, found.administrator]}


def _parsed(text: str) -> Any:
    try:
        return {name: key.hex() for name, key in parse_register(tomllib.loads(text)).items()}
    except (Malformed, ValueError):
        return None
