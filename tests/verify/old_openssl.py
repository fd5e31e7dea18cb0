"""A TLS server on OpenSSL 1.0.2, for what no library of today still speaks: SSLv2, SSLv3, RC4, export, compression.

The library comes out of a wheel of 2018 that carries it, is loaded by this process alone, and listens on loopback only.

    old_openssl.py LIBRARIES PORT '{"cert": ..., "key": ..., "ciphers": ..., "off": ["SSLv2"], "hsts": ...}'
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import sys
from pathlib import Path

OFF = {"SSLv2": 0x01000000, "SSLv3": 0x02000000, "TLSv1.0": 0x04000000, "TLSv1.1": 0x10000000, "TLSv1.2": 0x08000000}
NO_COMPRESSION, UNSAFE_RENEGOTIATION, SERVER_ORDER, SINGLE_DH = 0x00020000, 0x00040000, 0x00400000, 0x00100000
CTRL_SET_TMP_RSA, CTRL_SET_TMP_DH, CTRL_OPTIONS, CTRL_SET_ECDH_AUTO = 2, 3, 32, 94
PEM = 1


class Library:
    """libssl and libcrypto 1.0.2, with the pointers' types told."""

    def __init__(self, folder: Path) -> None:
        # Each is loaded before who needs it; the dynamic linker then finds them by their names.
        for prefix in ("libz-", "libcom_err-", "libkeyutils-", "libsepol-", "libselinux-", "libkrb5support-"):
            self._load(folder, prefix)
        self.crypto = self._load(folder, "libcrypto-")
        for prefix in ("libk5crypto-", "libkrb5-", "libgssapi_krb5-"):
            self._load(folder, prefix)
        self.ssl = self._load(folder, "libssl-")
        pointer = ctypes.c_void_p
        for library, name, *arguments in (
            (self.ssl, "SSLv23_server_method"),
            (self.ssl, "SSL_CTX_new", pointer),
            (self.ssl, "SSL_new", pointer),
            (self.crypto, "BIO_new_file", ctypes.c_char_p, ctypes.c_char_p),
            (self.crypto, "PEM_read_bio_DHparams", pointer, pointer, pointer, pointer),
            (self.crypto, "RSA_generate_key", ctypes.c_int, ctypes.c_ulong, pointer, pointer),
        ):
            function = getattr(library, name)
            function.restype, function.argtypes = pointer, arguments
        self.ssl.SSL_CTX_ctrl.argtypes = [pointer, ctypes.c_int, ctypes.c_long, pointer]
        self.ssl.SSL_CTX_ctrl.restype = ctypes.c_long
        for name in ("SSL_CTX_use_certificate_chain_file", "SSL_CTX_set_cipher_list"):
            getattr(self.ssl, name).argtypes = [pointer, ctypes.c_char_p]
        self.ssl.SSL_CTX_use_PrivateKey_file.argtypes = [pointer, ctypes.c_char_p, ctypes.c_int]
        self.ssl.SSL_set_fd.argtypes = [pointer, ctypes.c_int]
        for name in ("SSL_accept", "SSL_shutdown"):
            getattr(self.ssl, name).argtypes = [pointer]
        for name in ("SSL_read", "SSL_write"):
            getattr(self.ssl, name).argtypes = [pointer, ctypes.c_char_p, ctypes.c_int]
        self.ssl.SSL_library_init()
        self.crypto.OPENSSL_add_all_algorithms_noconf()

    @staticmethod
    def _load(folder: Path, prefix: str) -> ctypes.CDLL:
        return ctypes.CDLL(str(next(folder.glob(prefix + "*"))), mode=ctypes.RTLD_GLOBAL)


def context(library: Library, given: dict) -> int:
    made = library.ssl.SSL_CTX_new(library.ssl.SSLv23_server_method())
    options = SINGLE_DH
    for name in given.get("off", []):
        options |= OFF[name]
    options |= 0 if given.get("compression") else NO_COMPRESSION
    options |= UNSAFE_RENEGOTIATION if given.get("unsafe_renegotiation") else 0
    options |= SERVER_ORDER if given.get("server_order", True) else 0
    library.ssl.SSL_CTX_ctrl(made, CTRL_OPTIONS, options, None)
    library.ssl.SSL_CTX_ctrl(made, CTRL_SET_ECDH_AUTO, 1, None)
    if given.get("dh"):
        bio = library.crypto.BIO_new_file(given["dh"].encode(), b"r")
        library.ssl.SSL_CTX_ctrl(made, CTRL_SET_TMP_DH, 0, library.crypto.PEM_read_bio_DHparams(bio, None, None, None))
    if given.get("export"):
        key = library.crypto.RSA_generate_key(512, 65537, None, None)
        library.ssl.SSL_CTX_ctrl(made, CTRL_SET_TMP_RSA, 0, key)
    for done, what in (
        (library.ssl.SSL_CTX_set_cipher_list(made, given["ciphers"].encode()), "ciphers"),
        (library.ssl.SSL_CTX_use_certificate_chain_file(made, given["cert"].encode()), "cert"),
        (library.ssl.SSL_CTX_use_PrivateKey_file(made, given["key"].encode(), PEM), "key"),
    ):
        if done != 1:
            sys.exit(f"OpenSSL 1.0.2 does not take the {what} {given[what]!r}")
    return made


def serve(library: Library, made: int, connection: socket.socket, hsts: str) -> None:
    session = library.ssl.SSL_new(made)
    library.ssl.SSL_set_fd(session, connection.fileno())
    if library.ssl.SSL_accept(session) == 1:
        buffer = ctypes.create_string_buffer(8192)
        if library.ssl.SSL_read(session, buffer, 8192) > 0:
            header = f"Strict-Transport-Security: {hsts}\r\n" if hsts else ""
            answer = f"HTTP/1.1 200 OK\r\n{header}Content-Length: 2\r\nConnection: close\r\n\r\nok".encode()
            library.ssl.SSL_write(session, answer, len(answer))
            library.ssl.SSL_shutdown(session)


def main() -> None:
    library = Library(Path(sys.argv[1]))
    given = json.loads(sys.argv[3])
    made = context(library, given)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.create_server(("127.0.0.1", int(sys.argv[2])), backlog=64)
    while True:
        connection, _peer = listener.accept()
        # A process for each connection: 1.0.2 needs locks from the application to be used by threads.
        if os.fork() == 0:
            signal.alarm(15)
            serve(library, made, connection, given.get("hsts", ""))
            os._exit(0)
        connection.close()


if __name__ == "__main__":
    main()
