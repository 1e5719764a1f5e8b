"""The register of all devices' identities, as a device takes it from its coordinator.

A register that an administrator has signed is kept, and only one of the same administrator, and no
older one, takes its place. One that nobody has signed is not: it would let the coordinator say anew
each time who is who, where a device that takes identities as they show first notices a change.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hedgerow.client.secure.enrolment import REGISTER
from hedgerow.client.secure.signed_register import read_signature, verify
from hedgerow.files import PRIVATE, write_whole
from hedgerow.node.kit import Kit
from hedgerow.secure.errors import Malformed

log = logging.getLogger("hedgerow")


def take_register(folder: Path, kit: Kit, answer: Mapping[str, Any]) -> str | None:
    """Keep the register of an answer of the coordinator's, if it may be relied on.

    Args:
        folder: of the device.
        kit: with the administrator, once it is known.
        answer: `register`, a text or `None`.

    Returns:
        Who signs the register, 64 hex digits; `None` where nobody does yet, and identities are taken
        as they show first.

    Raises:
        Malformed: it is not the administrator's, or older than the one that is here; that one stays.
    """
    text = answer.get("register")
    if kit.administrator is None and (not isinstance(text, str) or answer.get("trust") != "signed"):
        return None
    if not isinstance(text, str) or not text:
        raise Malformed("the coordinator gives no signed register any more; the one that is here stays")
    found = verify(text, kit.administrator)
    if found.federation != kit.federation:
        raise Malformed(f"the register is of federation {found.federation}, not {kit.federation}")
    file = folder / REGISTER
    if file.exists():
        known = file.read_text(encoding="utf-8")
        if known == text:
            return found.administrator
        last = read_signature(known).version
        if found.version <= last:
            raise Malformed(f"the register has version {found.version}; version {last} is here, and stays")
    write_whole(file, text.encode(), mode=PRIVATE)
    log.info("register version %d is kept", found.version)
    return found.administrator
