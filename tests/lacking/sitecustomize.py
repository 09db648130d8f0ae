"""With this folder on PYTHONPATH, Python has a pyOpenSSL without `SSL._lib.SSL_clear_mode`: a name
that the transport of links needs and pyOpenSSL itself does not."""

from __future__ import annotations

from OpenSSL import SSL


class _Lib:
    def __init__(self, lib: object) -> None:
        self._lib = lib

    def __getattr__(self, name: str) -> object:
        if name == "SSL_clear_mode":
            raise AttributeError(name)
        return getattr(self._lib, name)


SSL._lib = _Lib(SSL._lib)  # type: ignore[attr-defined]
