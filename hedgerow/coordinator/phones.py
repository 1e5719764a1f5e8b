"""What a federation has for phones: their invitation, the hash of their page, and what they are told.

`phones.json` in the federation's folder has the hash of the page that `hedgerow up` has shown, the other
origins whose pages may call the gateway, and what the page says about the run. Of the invitation,
`members.json` has a hash.
"""

import base64
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

from hedgerow.coordinator.folder import FederationError, FederationFolder
from hedgerow.coordinator.join_request import token_hash
from hedgerow.coordinator.members import changed_members
from hedgerow.coordinator.open_invitation import OpenInvitation

FILE = "phones.json"
PATH = "/phone/"
HOURS = 24.0

_HIGHEST_PORT = 65535
_TOKEN_BYTES = 18  # 144 bits, and 24 characters without padding
_PAGE = re.compile(
    r"https://(?:[0-9a-z][0-9a-z.-]{0,252}|\[[0-9a-f:.]{2,45}\])"
    r"(?::(?P<port>[1-9]\d{0,4}))?(?P<path>/[\w.~/-]*)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Phones:
    """The contents of `phones.json`.

    Attributes:
        build: hash of the page that is served, 64 hex digits.
        pages: addresses of the same page elsewhere; the code leads to the first.
        about: what the page says of the run before anybody joins; empty while no run is for phones.
    """

    build: str
    pages: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def origins(self) -> frozenset[str]:
        """Origins of other pages that may call the gateway."""
        return frozenset(origin_of(page) for page in self.pages)


def load_phones(folder: FederationFolder) -> Phones | None:
    """What a federation has for phones; `None` if it never had any. Raises `FederationError`."""
    found = folder.read(FILE, None)
    if found is None:
        return None
    try:
        return Phones(str(found["build"]), tuple(found["pages"]), dict(found["about"]))
    except (KeyError, TypeError, ValueError) as error:
        raise FederationError(f"{folder.path / FILE} cannot be read: {error}; remove it") from error


def save_phones(folder: FederationFolder, phones: Phones) -> None:
    """Record what a federation has for phones; raises `OSError`."""
    folder.write(FILE, asdict(phones))


def checked_page(address: str) -> str:
    """The address of a page elsewhere, with its path; raises `FederationError` if it is none.

    >>> checked_page("https://pages.example"), origin_of("https://pages.example:8443/a/")
    ('https://pages.example/', 'https://pages.example:8443')
    """
    found = _PAGE.fullmatch(address)
    if found is None or int(found["port"] or 0) > _HIGHEST_PORT:
        raise FederationError(
            f"the address of a page elsewhere is {address!r}; it must be like https://pages.example, in lower"
            " case, with no more than a port and a path after it"
        )
    return f"{origin_of(address)}{found['path'] or '/'}"


def origin_of(page: str) -> str:
    """The origin of a page's address, as browsers send it: without the port where it is the usual one."""
    return f"https://{urlsplit(page).netloc.removesuffix(':443')}"


def invite_phones(folder: FederationFolder, phones: int, hours: float = HOURS) -> str:
    """Let so many phones join by one token, in place of those that an earlier one lets in; returns it.

    Raises:
        FederationError: the federation's members cannot be read.
        OSError: the invitation cannot be written; nobody is invited then.
    """
    token = secrets.token_bytes(_TOKEN_BYTES)
    with changed_members(folder) as members:
        members.open = OpenInvitation(token_hash(token), phones, time.time() + 3600 * hours)
    return base64.urlsafe_b64encode(token).decode()


def end_invitation(folder: FederationFolder) -> None:
    """Let no further phone in; raises `FederationError` if none is invited."""
    with changed_members(folder) as members:
        if members.open is None:
            raise FederationError("no phones are invited; those that have joined: hedgerow revoke phone-1")
        members.open = None


def page_address(folder: FederationFolder, token: str, pages: Sequence[str] = ()) -> str:
    """The address that the code holds: of the page, with the invitation after the #, which no server gets."""
    settings = folder.settings
    invitation = {"address": settings.address, "token": token}
    if settings.administrator:
        invitation["administrator"] = settings.administrator
    text = json.dumps(invitation, separators=(",", ":"))
    hidden = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
    return f"{pages[0] if pages else settings.address + PATH}#{hidden}"


def lets_in(invitation: OpenInvitation | None, address: str) -> bool:
    """Whether phones can join now by the invitation in an address that `page_address` made."""
    if invitation is None or not invitation.places():
        return False
    hidden = address.partition("#")[2]
    try:
        found = json.loads(base64.urlsafe_b64decode(hidden + "=" * (-len(hidden) % 4)))
        return token_hash(base64.urlsafe_b64decode(found["token"])) == invitation.token
    except (ValueError, KeyError, TypeError):
        return False
