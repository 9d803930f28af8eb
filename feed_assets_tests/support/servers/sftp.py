"""A real SFTP server on a free port, whose root is a folder."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh


@dataclass
class SftpHost:
    """The server. With `cut_at`, it cuts the connection of the next read beyond these bytes."""

    port: int
    host_key: str
    client_key: str
    """A private key that the server trusts, in OpenSSH's form."""
    logins: list[str] = field(default_factory=list)
    cut_at: int | None = None
    stalled: bool = False
    """Answer no read."""


@contextmanager
def sftp_host(folder: Path, user: str, secret: str) -> Iterator[SftpHost]:
    """Run the server in a thread of its own."""
    host_key, client_key = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    trusted = client_key.export_public_key().decode()
    host = SftpHost(
        0,
        " ".join(host_key.export_public_key().decode().split()[:2]),
        client_key.export_private_key().decode(),
    )

    stopped = asyncio.Event()
    connections: list[asyncssh.SSHServerConnection] = []

    class Login(asyncssh.SSHServer):
        def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
            connections.append(conn)

        def begin_auth(self, username: str) -> bool:
            host.logins.append(username)
            return True

        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == (user, secret)

    class Files(asyncssh.SFTPServer):
        def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
            super().__init__(channel, chroot=str(folder).encode())
            self._connection = channel.get_connection()

        async def read(self, file_obj: object, offset: int, size: int) -> bytes:
            if host.stalled:
                await stopped.wait()
            if host.cut_at is not None and offset + size > host.cut_at:
                host.cut_at = None
                self._connection.abort()
            data = super().read(file_obj, offset, size)
            assert isinstance(data, bytes)
            return data

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(
            Login,
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=asyncssh.import_authorized_keys(trusted),
            sftp_factory=Files,
        )

    async def stop(server: asyncssh.SSHAcceptor) -> None:
        server.close()
        for connection in connections:
            connection.abort()
        await server.wait_closed()
        stopped.set()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    host.port = server.get_port()
    try:
        yield host
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
