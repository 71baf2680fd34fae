"""Where the demo is served: host and port, taken before anything slow is imported."""

from __future__ import annotations

import errno
import socket
from dataclasses import dataclass

from engine.errors import DemoError

HOST = "127.0.0.1"
PORT = 7860
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class ServerAddress:
    """Where the demo is served; `embedded_in` are origins of pages that may show it in a frame."""

    host: str = HOST
    port: int = PORT
    embedded_in: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        return self.host in LOOPBACK

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}/"


def bound_socket(address: ServerAddress) -> socket.socket:
    """The port, taken; DemoError where another program has it, or the host is none of this machine."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((address.host, address.port))
        # From now on: two sockets that only hold a port may hold the same one.
        taken.listen(128)
    except OSError as error:
        taken.close()
        if error.errno == errno.EADDRINUSE:
            raise DemoError(
                f"port {address.port} is taken by another program",
                hint=f"--port {address.port + 1 if address.port < 65535 else address.port - 1}",
            ) from None
        raise DemoError(
            f"the demo cannot be served at {address.host}, port {address.port}",
            expected="an address of this machine, and a port that you may use",
            seen=error.strerror or str(error),
        ) from None
    return taken
