"""The register of all devices' identities, as a device gets it from its coordinator.

A register that an administrator has signed is kept, and only a newer one from the same administrator
replaces it. An unsigned register is not kept: it would let the coordinator redefine the identities each
time, whereas a device that trusts identities on first use notices a change.
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
    """Keep the register in a coordinator's answer, if it can be trusted.

    Args:
        folder: of the device.
        kit: with the administrator, once it is known.
        answer: has `register`, a text or `None`.

    Returns:
        The key that signs the register, 64 hex digits; `None` if there is none yet, and identities are
        trusted on first use.

    Raises:
        Malformed: it is not the administrator's, or older than the present one, which stays.
    """
    text = answer.get("register")
    if kit.administrator is None and (not isinstance(text, str) or answer.get("trust") != "signed"):
        return None
    if not isinstance(text, str) or not text:
        raise Malformed("the coordinator no longer gives a signed register; the present one stays")
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
            raise Malformed(f"the register has version {found.version}; the present one has version {last}")
    write_whole(file, text.encode(), mode=PRIVATE)
    log.info("register version %d is kept", found.version)
    return found.administrator
