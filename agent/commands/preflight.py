"""Checks of the machine for `doctor`: mounts, memory, space, the endpoint's address.

They leave nothing behind: they remove their trial files, whose names the agent's own sweep knows, too.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import ssl
import stat
from urllib.parse import urlsplit

from agent.core import network
from agent.core.errors import FreshmountError
from agent.core.record import Record
from agent.sinks.volume import files

_MEMORY = frozenset({"tmpfs", "ramfs"})

# Kubelet mounts the whole directory of a volume. A path below its name means `subPath`.
_SUB_PATH = re.compile(r"/volumes/kubernetes\.io~[^/]+/[^/]+/.")


class CheckFailed(FreshmountError):
    """Something is not as the agent needs it, and must be changed by a person."""


class Mount(Record):
    """The mount that a path lies on: its mount point, its file system and device, and which part of that is mounted."""

    point: str
    kind: str
    device: str
    root: str

    @property
    def in_memory(self) -> bool:
        """Whether its content never reaches a disk, except by swapping."""
        return self.kind in _MEMORY

    @property
    def is_sub_path(self) -> bool:
        """Whether only a part of a volume is mounted. Such a mount never shows that part's replacement."""
        return bool(_SUB_PATH.search(self.root)) or (self.in_memory and self.root != "/")


def mounts(table: str = "/proc/self/mountinfo") -> list[Mount]:
    """All mounts that a process sees; empty where the kernel does not say. See proc(5)."""
    found = []
    try:
        with open(table, encoding="utf-8", errors="surrogateescape") as handle:
            for line in handle:
                before, _, after = line.partition(" - ")
                device, root, point = (_unescaped(word) for word in before.split(" ")[2:5])
                found.append(Mount(point, after.split(" ")[0], device, root))
    except (OSError, ValueError):
        return []
    return found


def mount_of(path: str, table: str = "/proc/self/mountinfo") -> Mount | None:
    """The mount that the path lies on, or None where the kernel does not say."""
    real = os.path.realpath(path)
    over = [m for m in mounts(table) if real == m.point or real.startswith(m.point.rstrip("/") + "/")]
    return max(over, key=lambda mount: len(mount.point), default=None)


def frozen_parts(path: str) -> list[str]:
    """Where other visible processes have only a part of this directory mounted, instead of the whole."""
    own = mount_of(path)
    if own is None:
        return []
    inside = os.path.normpath(os.path.join(own.root, os.path.relpath(os.path.realpath(path), own.point)))
    seen: set[str] = set()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            seen.update(
                f"{mount.point} (process {entry})"
                for mount in mounts(f"/proc/{entry}/mountinfo")
                if mount.device == own.device
                and mount.root != inside
                and mount.root.startswith(inside.rstrip("/") + "/")
            )
    return sorted(seen)


def _unescaped(word: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), word)


def try_out(path: str) -> str:
    """Do once in the directory what publishing does: write, link, rename. Returns its free space as text.

    Raises CheckFailed with the reason.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise CheckFailed(f"{path} cannot be opened: {os.strerror(error.errno or 0)}") from error
    try:
        try:
            _write_link_rename(handle)
        except FileNotFoundError:
            _write_link_rename(handle)  # a running agent may have swept the trial files away
        space = os.fstatvfs(handle)
    except OSError as error:
        found = os.fstat(handle)
        raise CheckFailed(
            f"{path} cannot be written by uid {os.geteuid()}: {os.strerror(error.errno or 0)}; it belongs to uid "
            f"{found.st_uid}, gid {found.st_gid}, with mode {stat.S_IMODE(found.st_mode):04o}"
            + ("; raise the emptyDir's sizeLimit" if error.errno == errno.ENOSPC else "")
        ) from error
    finally:
        os.close(handle)
    return f"{space.f_bavail * space.f_frsize >> 10} KiB and {space.f_favail} inodes free"


def _write_link_rename(handle: int) -> None:
    names = [files.temporary_name() for _ in range(3)]
    try:
        files.write_file(handle, names[0], b"tried by freshmount doctor\n", 0o400)
        os.symlink(names[0], names[1], dir_fd=handle)
        os.rename(names[1], names[2], src_dir_fd=handle, dst_dir_fd=handle)
    finally:
        for name in names:
            files.remove(handle, name)


def foreign(path: str) -> list[str]:
    """Names in a sticky directory that belong to another uid, so that the agent may not rename or remove them."""
    if not os.stat(path).st_mode & stat.S_ISVTX:
        return []
    return sorted(name for name in os.listdir(path) if os.lstat(os.path.join(path, name)).st_uid != os.geteuid())


def reach(url: str, bundle: str | None, timeout: float) -> str:
    """Resolve the host of the URL, connect, and with https verify its certificate with the bundle (None: the system's).

    Returns the address that answered. Raises CheckFailed with the step that failed. `timeout` is seconds for each step.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        address = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        raise CheckFailed(f"{host} does not resolve; check the pod's DNS, or the VPC endpoint's private DNS") from None
    try:
        connection = socket.create_connection((address, port), timeout)
    except OSError as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else os.strerror(error.errno or 0)
        raise CheckFailed(
            f"{host} ({address}) cannot be reached on port {port}: {reason}; check routes, security groups, the VPC "
            "endpoint and NetworkPolicies"
        ) from None
    with connection:
        if parts.scheme == "https":
            try:
                ssl.create_default_context(cafile=bundle).wrap_socket(connection, server_hostname=host).close()
            except OSError as error:
                trusted = bundle or "the system's certificates"
                if bundle and bundle == os.environ.get("AWS_CA_BUNDLE"):
                    trusted += " (AWS_CA_BUNDLE)"
                raise CheckFailed(f"TLS to {host} fails: {network.tls(error, trusted, os.geteuid())}") from None
    return address


def free(host: str, port: int) -> bool:
    """Whether the agent could listen on the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trying:
        trying.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trying.bind((host, port))
        except OSError as error:
            return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
    return True
