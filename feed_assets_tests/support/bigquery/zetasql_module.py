"""ZetaSQL, Google's analyzer and reference engine of BigQuery's SQL, as a WebAssembly module.

`python -m feed_assets_tests.support.bigquery.zetasql_module` compiles it, which takes a minute once
for each version; the compiled module loads in milliseconds.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import tzdata
from google.protobuf.message import Message
from wasmtime import Config, Engine, Linker, Module, Store, WasiConfig
from zetasql.wasi import get_wasm_path

FILE = f"zetasql-{version('zetasql')}-wasmtime-{version('wasmtime')}.bin"


class ZetaSqlError(Exception):
    """ZetaSQL refuses a statement; the message is the one that BigQuery's users see."""


class ZetaSql:
    """One instance of the module, which keeps what is registered in it."""

    def __init__(self, path: Path) -> None:
        engine = _engine()
        self._store = Store(engine)
        wasi = WasiConfig()
        zones = Path(tzdata.__file__).with_name("zoneinfo")
        wasi.preopen_dir(str(zones), "/usr/share/zoneinfo")
        self._store.set_wasi(wasi)
        linker = Linker(engine)
        linker.define_wasi()
        instance = linker.instantiate(self._store, Module.deserialize_file(engine, str(path)))
        self._exports: Any = instance.exports(self._store)
        self._run("_initialize")

    def call(self, method: str, request: Message, answer: type[Message]) -> Any:
        """Call a method of ZetaSQL's local service. Raises ZetaSqlError.

        https://github.com/google/zetasql/blob/master/zetasql/local_service/local_service.proto
        """
        data = request.SerializeToString()
        request, length = self._run("wasm_malloc", len(data) or 1), self._run("wasm_malloc", 4)
        ctypes.memmove(self._memory + request, data, len(data))
        received = self._run(f"ZetaSqlLocalService_{method}", request, len(data), length)
        try:
            if not received:
                size = self._run("wasm_get_last_error_size")
                words = self._bytes(self._run("wasm_get_last_error"), size).decode()
                raise ZetaSqlError(words.partition("Message: ")[2] or words)
            size = int.from_bytes(self._bytes(length, 4), "little")
            return answer.FromString(self._bytes(received, size))
        finally:
            for address in filter(None, (received, request, length)):
                self._run("wasm_free", address)

    def _run(self, name: str, *arguments: int) -> int:
        return int(self._exports[name](self._store, *arguments) or 0)

    @property
    def _memory(self) -> int:
        """Address of the module's memory, which may move when it grows."""
        return ctypes.addressof(self._exports["memory"].data_ptr().contents)

    def _bytes(self, address: int, size: int) -> bytes:
        return ctypes.string_at(self._memory + address, size)


@cache
def zetasql() -> ZetaSql:
    """Return this process's instance. Compile the module if no process has done so."""
    return ZetaSql(compiled())


def compiled() -> Path:
    """Return the compiled module. Of several processes, one compiles and the others wait."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "feed_assets"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            for old in folder.glob("zetasql-*"):
                old.unlink()
            new = path.with_suffix(".new")
            new.write_bytes(Module.from_file(_engine(), str(get_wasm_path())).serialize())
            new.rename(path)
    return path


@cache
def _engine() -> Engine:
    config = Config()
    config.shared_memory = True
    return Engine(config)


if __name__ == "__main__":
    compiled()
