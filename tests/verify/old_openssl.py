"""A TLS server on OpenSSL 1.0.2e, for what no library of today still speaks: SSLv2, SSLv3, export, compression.

The library is the one that the scanner brings along as a client of such servers: it lies inside the extension module nassl._nassl_legacy,
whose table of symbols says where each function is. Run by the scanner's own Python; it listens on loopback only.

    old_openssl.py PORT '{"cert": ..., "key": ..., "ciphers": ..., "off": ["SSLv2"], "hsts": ...}'
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

OFF = {"SSLv2": 0x01000000, "SSLv3": 0x02000000, "TLSv1.0": 0x04000000, "TLSv1.1": 0x10000000, "TLSv1.2": 0x08000000}
NO_COMPRESSION, UNSAFE_RENEGOTIATION, SERVER_ORDER, SINGLE_DH = 0x00020000, 0x00040000, 0x00400000, 0x00100000
CTRL_SET_TMP_RSA, CTRL_SET_TMP_DH, CTRL_OPTIONS, CTRL_RI_SUPPORT, CTRL_SET_ECDH_AUTO = 2, 3, 32, 76, 94
CALLBACK_SERVER_NAME = 53
PEM = 1
# Where struct ssl_st of 1.0.2 on a 64-bit machine has its pointer to struct ssl3_state_st, and how much of that is looked at.
STATE, STATE_SIZE = 128, 2048

POINTER, TEXT, NUMBER, LONG = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_long
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "SSL_library_init": (NUMBER,),
    "SSLv23_server_method": (POINTER,),
    "SSL_CTX_new": (POINTER, POINTER),
    "SSL_CTX_ctrl": (LONG, POINTER, NUMBER, LONG, POINTER),
    "SSL_CTX_callback_ctrl": (LONG, POINTER, NUMBER, POINTER),
    "SSL_CTX_set_cipher_list": (NUMBER, POINTER, TEXT),
    "SSL_CTX_use_certificate_chain_file": (NUMBER, POINTER, TEXT),
    "SSL_CTX_use_PrivateKey_file": (NUMBER, POINTER, TEXT, NUMBER),
    "SSL_new": (POINTER, POINTER),
    "SSL_ctrl": (LONG, POINTER, NUMBER, LONG, POINTER),
    "SSL_set_fd": (NUMBER, POINTER, NUMBER),
    "SSL_accept": (NUMBER, POINTER),
    "SSL_read": (NUMBER, POINTER, POINTER, NUMBER),
    "SSL_write": (NUMBER, POINTER, TEXT, NUMBER),
    "SSL_shutdown": (NUMBER, POINTER),
    "BIO_new_file": (POINTER, TEXT, TEXT),
    "PEM_read_bio_DHparams": (POINTER, POINTER, POINTER, POINTER, POINTER),
    "BN_new": (POINTER,),
    "BN_set_word": (NUMBER, POINTER, ctypes.c_ulong),
    "RSA_new": (POINTER,),
    "RSA_generate_key_ex": (NUMBER, POINTER, NUMBER, POINTER, POINTER),
}


def symbols(path: str) -> dict[str, int]:
    """The symbols of an ELF file of 64 bits and their places."""
    data = Path(path).read_bytes()
    offset = struct.unpack_from("<Q", data, 40)[0]
    size, count = struct.unpack_from("<HH", data, 58)
    # Of each section: name, type, flags, address, offset, size, link.
    sections = [struct.unpack_from("<IIQQQQI", data, offset + index * size) for index in range(count)]
    table = next((section for section in sections if section[1] == 2), None)
    if table is None:
        sys.exit(
            f"{path} has no table of symbols, so its OpenSSL 1.0.2 cannot be used: take the wheel of nassl as its makers publish it"
        )
    names = sections[table[6]][4]
    found = {}
    for place in range(table[4], table[4] + table[5], 24):
        name, _info, _other, _section, value = struct.unpack_from("<IBBHQ", data, place)
        if value:
            start = names + name
            found[data[start : data.index(b"\0", start)].decode()] = value
    return found


class Library:
    """The functions of OpenSSL 1.0.2 by their names."""

    def __init__(self) -> None:
        module = importlib.util.find_spec("nassl._nassl_legacy")
        if module is None or not module.origin:
            sys.exit("nassl is not installed beside this Python: run it by the one in .cache/sslyze")
        places = symbols(module.origin)
        self._loaded = ctypes.CDLL(module.origin)
        known = "PyInit__nassl_legacy"
        base = (ctypes.cast(self._loaded[known], POINTER).value or 0) - places[known]
        for name, types in FUNCTIONS.items():
            setattr(self, name, ctypes.CFUNCTYPE(*types)(base + places[name]))
        self.SSL_library_init()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def context(library: Library, given: dict) -> int:
    made = library.SSL_CTX_new(library.SSLv23_server_method())
    options = SINGLE_DH
    for name in given.get("off", []):
        options |= OFF[name]
    options |= 0 if given.get("compression") else NO_COMPRESSION
    options |= UNSAFE_RENEGOTIATION if given.get("unsafe_renegotiation") else 0
    options |= SERVER_ORDER if given.get("server_order", True) else 0
    library.SSL_CTX_ctrl(made, CTRL_OPTIONS, options, None)
    library.SSL_CTX_ctrl(made, CTRL_SET_ECDH_AUTO, 1, None)
    if given.get("dh"):
        bio = library.BIO_new_file(given["dh"].encode(), b"r")
        library.SSL_CTX_ctrl(made, CTRL_SET_TMP_DH, 0, library.PEM_read_bio_DHparams(bio, None, None, None))
    if given.get("export"):
        key, exponent = library.RSA_new(), library.BN_new()
        library.BN_set_word(exponent, 65537)
        library.RSA_generate_key_ex(key, 512, exponent, None)
        library.SSL_CTX_ctrl(made, CTRL_SET_TMP_RSA, 0, key)
    for done, what in (
        (library.SSL_CTX_set_cipher_list(made, given["ciphers"].encode()), "ciphers"),
        (library.SSL_CTX_use_certificate_chain_file(made, given["cert"].encode()), "cert"),
        (library.SSL_CTX_use_PrivateKey_file(made, given["key"].encode(), PEM), "key"),
    ):
        if done != 1:
            sys.exit(f"OpenSSL 1.0.2 does not take the {what} {given[what]!r}")
    return made


def without_renegotiation_info(library: Library, made: int) -> object:
    """Makes the servers of a context as they were before RFC 5746: deaf to the client's offer, and they do not renegotiate.

    1.0.2 has no option for it. It keeps the offer as a flag of the connection, and between the ClientHello and its answer it asks this
    callback about the server's name. The flag is the one number 1 that the library itself then reports as 0.
    """

    def forget(session: int, _alert: int, _argument: int) -> int:
        state = ctypes.c_uint64.from_address(session + STATE).value
        for place in range(state, state + STATE_SIZE, 4):
            number = ctypes.c_int32.from_address(place)
            if number.value == 1:
                number.value = 0
                if not library.SSL_ctrl(session, CTRL_RI_SUPPORT, 0, None):
                    return 0
                number.value = 1
        return 0

    callback = ctypes.CFUNCTYPE(NUMBER, POINTER, POINTER, POINTER)(forget)
    library.SSL_CTX_callback_ctrl(made, CALLBACK_SERVER_NAME, ctypes.cast(callback, POINTER))
    return callback


def serve(library: Library, made: int, connection: socket.socket, hsts: str) -> None:
    session = library.SSL_new(made)
    library.SSL_set_fd(session, connection.fileno())
    if library.SSL_accept(session) == 1:
        buffer = ctypes.create_string_buffer(8192)
        if library.SSL_read(session, buffer, 8192) > 0:
            header = f"Strict-Transport-Security: {hsts}\r\n" if hsts else ""
            answer = f"HTTP/1.1 200 OK\r\n{header}Content-Length: 2\r\nConnection: close\r\n\r\nok".encode()
            library.SSL_write(session, answer, len(answer))
            library.SSL_shutdown(session)


def main() -> None:
    library = Library()
    given = json.loads(sys.argv[2])
    made = context(library, given)
    _kept = without_renegotiation_info(library, made) if given.get("no_renegotiation_info") else None
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=64)
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
