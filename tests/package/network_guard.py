"""Put into the fresh environment: every attempt to reach another machine is written down and fails."""

import ipaddress
import os
import socket
from typing import Any

_connect, _connect_ex, _getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


def _is_here(host: Any) -> bool:
    try:
        return host in (None, "", "localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(host: Any) -> None:
    if not _is_here(host):
        with open(os.environ["NETWORK_GUARD_LOG"], "a", encoding="utf-8") as log:
            log.write(f"{host}\n")
        raise OSError(f"no network in this test: {host}")


def connect(self: socket.socket, address: Any) -> None:
    if self.family != socket.AF_UNIX:
        _check(address[0])
    return _connect(self, address)


def connect_ex(self: socket.socket, address: Any) -> int:
    if self.family != socket.AF_UNIX:
        _check(address[0])
    return _connect_ex(self, address)


def getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
    _check(host)
    return _getaddrinfo(host, *arguments, **options)


if "NETWORK_GUARD_LOG" in os.environ:
    socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = connect, connect_ex, getaddrinfo
