"""A unit for systemd, by which a device takes part from each boot on, as a user that exists for that only."""

import grp
import re
import stat
import sysconfig
from pathlib import Path

from hedgerow.client.limits import Limits
from hedgerow.files import file_name
from hedgerow.node.kit import Kit

_HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
_MEMORY, _MORE = 1000, 128
"""Megabytes of a node whose device sets no limit; and for its files in the kernel's memory, where it does."""

UNIT = """\
# As /etc/systemd/system/hedgerow-{name}.service, enabled by: systemctl enable --now hedgerow-{name}
[Unit]
Description=Hedgerow device {name}
Wants=network-online.target systemd-time-wait-sync.service
After=network-online.target time-sync.target
StartLimitIntervalSec=0

[Service]
DynamicUser=yes
{groups}LoadCredential=device.kit:{kit}
LoadCredential=policy.toml:{policy}
StateDirectory=hedgerow/{federation}/{name}
StateDirectoryMode=0700
WorkingDirectory=%S/hedgerow/{federation}/{name}
Environment=HOME=%S/hedgerow/{federation}/{name}
ExecStart={program} join %d/device.kit --data {data} --policy %d/policy.toml --folder ${{STATE_DIRECTORY}}
Restart=always
RestartSec=15
TimeoutStopSec=60
MemoryMax={memory}M
MemorySwapMax=0
TasksMax=128
Nice=10
UMask=0077

NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
PrivateDevices=yes
PrivateTmp=yes
PrivateUsers=yes
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @mount
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def unit(kit: Kit, kit_file: Path, data: Path, policy: Path, limits: Limits) -> str:
    """The unit of a device.

    It starts once the clock is right, because a call is signed with the time. Kit and policy are credentials:
    root alone need be able to read them. The device's keys are made and kept in its state folder.

    Args:
        kit_file, policy: the files.
        data: the device's own, a path or the name of a packaged data set.
        limits: of the policy.

    Raises:
        ValueError: the unit could not read the data or start the program; the error says what to do.
    """
    program = Path(sysconfig.get_path("scripts")) / "hedgerow"
    own = data.exists()
    for place in (kit_file, policy, program, *([data] if own else [])):
        _check_text(place)
    for place in (program, *([data] if own else [])):
        if any(place.resolve().is_relative_to(home) for home in _HOMES):
            raise ValueError(
                f"{place} is in somebody's home, which a service does not see: move it, such as to"
                f" {'/opt/hedgerow' if place == program else '/srv'}"
            )
    group = _group(data) if own else ""
    return UNIT.format(
        name=_plain(kit.name), federation=kit.federation, program=program, kit=kit_file.resolve(),
        policy=policy.resolve(), data=data.resolve() if own else data,
        groups=f"SupplementaryGroups={group}\n" if group else "",
        memory=_MEMORY if limits.memory is None else limits.memory + _MORE,
    )  # fmt: skip


def _plain(name: str) -> str:
    """A name for files and units; different names get different ones.

    >>> _plain("ward 7"), _plain("kitchen")
    ('ward_207', 'kitchen')
    """
    return file_name(name).replace("_", "_5f").replace("%", "_").replace("+", "_")


def _check_text(place: Path) -> None:
    if not re.fullmatch(r"[\w./@+-]+", str(place.resolve()), re.ASCII):
        raise ValueError(f"{place} has characters that mean something in a unit: give it a plain name")


def _group(data: Path) -> str:
    """The group by which the service reads the data; empty if everybody can.

    Raises:
        ValueError: neither can.
    """
    found, needed = "", stat.S_IROTH | (stat.S_IXOTH if data.is_dir() else 0)
    places = [(data.resolve(), needed), *((place, stat.S_IXOTH) for place in data.resolve().parents)]
    for place, bits in places:
        about = place.stat()
        if about.st_mode & bits == bits:
            continue
        name = grp.getgrgid(about.st_gid).gr_name
        if about.st_mode & bits << 3 != bits << 3 or name == "root" or found not in ("", name):
            raise ValueError(
                f"a service cannot read {data}, because of the mode of {place}: make a group for it, with"
                f" groupadd --system hedgerow-data, then chgrp hedgerow-data {place} and chmod g+rX {place}"
            )
        found = name
    return found
