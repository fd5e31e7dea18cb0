"""Spellings of a request's target: all that a reader could take for a protected path, and what only looks like one. Pure and deterministic.

`of(path, base)` gives at least a thousand for one path, in an order that one seed decides. What each means is not said here: the server's
reader (tests/lab/double/kestrel.py) judges what arrived.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

SEED = 9
LEAST = 1000
PROTECTED = ("/metrics", "/dlna", "/System/Restart", "/System/Shutdown", "/Startup")
LOGIN = ("/Users/AuthenticateByName", "/QuickConnect/Connect")
# Where a reader that takes the prefix away before it looks, or does not, gets it wrong.
LEGACY = (
    b"/emby",
    b"/mediabrowser",
    b"/EMBY",
    b"/MediaBrowser",
    b"/e%6dby",
    b"/emby/emby",
    b"/emby/mediabrowser",
    b"/mediabrowser//emby",
)

UP = (  # one segment up, to a reader of some kind
    b"..", b"%2e%2e", b".%2e", b"%2e.", b"%2E%2E", b".%2E", b"%2E%2e", b"%252e%252e", b".%252e", b"..;", b"..;x=y", b"%2e%2e;", b"..%00",
    b"..%20", b"..%09", b"..%0d", b"..%0a", b"%c0%ae%c0%ae", b"%c0%2e%c0%2e", b"%e0%80%ae%e0%80%ae", b"%f0%80%80%ae%f0%80%80%ae",
    b"%uff0e%uff0e", b"%ef%bc%8e%ef%bc%8e", b"..#", b"..%23", b"..%3f", b"%5c..", b"..%5c", b"..\\", b"...", b".", b"%2e", b"..+", b"..,",
)  # fmt: skip
SLASH = (
    b"/", b"//", b"///", b"/./", b"/%2e/", b"/.//", b"//./", b"%2f", b"%2F", b"%2f%2f", b"/%2f", b"%2f/", b"\\", b"%5c", b"%5C", b"/\\", b"%252f",
    b"%255c", b"%c0%af", b"%c0%2f", b"%e0%80%af", b"%f0%80%80%af", b"%c1%9c", b"%u2215", b"%ef%bc%8f", b"%e2%81%84", b"%e2%88%95", b"/;/", b"/;a/",
    b";/", b";a=b/", b"/%20/", b"%20/", b"/%09", b"/%00", b"/%00/", b"/%0a", b"/%0d%0a", b"/#/", b"/%23/", b"/?/",
)  # fmt: skip
ASIDE = (b"/x", b"/x%2fy", b"/x//", b"/x/y/..", b"/x#", b"/x%23", b"/x?", b"/x%3f", b"/web", b"/Items/a%2Fb", b"/a.b", b"/%c3%a4", b"/x;y", b"/x%5cy",
b"/x\\y", b"/.x", b"/x.", b"/x%00", b"/x%e4")  # fmt: skip
END = (
    b"/", b"//", b"/.", b"/./", b"/%2e", b"/..", b"/%2e%2e", b"/x/..", b"/x/../", b"/x%2f..", b"%2f", b"%2F", b"%2f.", b"\\", b"%5c", b"?", b"?x", b"?/..",
    b"?%00", b"?#", b"#", b"#x", b"#/../x", b"%23", b"%3f", b";", b";a", b";a=b;c", b"%3b", b".", b"..", b"%20", b"%09", b"%00", b"%00.html", b"%0a",
    b"%0d%0a", b"+", b"%", b"%2", b"%zz", b"&", b"=", b",", b"~", b":80", b"@x", b"%c0%af", b"%c2%a0", b"%e2%80%8b", b"%ef%bb%bf", b"%ad", b"%ff", b"$", b"*",
    b".json", b".css", b"/x", b"/;x", b"/description.xml", b"|", b"\"", b"<", b"{}", b"^", b"`", b"'", b"!", b"(1)", b"[0]",
)  # fmt: skip
LOOKS = {  # what folds to a letter, or looks like one
    "s": (b"%c5%bf", b"%ef%bd%93", b"%d1%95"),
    "k": (b"%e2%84%aa", b"%ef%bd%8b"),
    "i": (b"%c4%b1", b"%c4%b0", b"%d1%96"),
    "a": (b"%d0%b0", b"%ef%bd%81"),
    "e": (b"%d0%b5", b"%ef%bd%85"),
    "m": (b"%ef%bd%8d",),
    "d": (b"%ef%bd%84",),
}
# The findings of the review that this suite was written after.
REVIEW = {
    "/metrics": (b"/a%2fb/../metrics", b"/x#/../metrics", b"/x#/%2e%2e/metrics", b"http://media.example.org/x#/../metrics"),
    "/System/Restart": (b"/System/y%2fz/../Restart", b"/System/x//../../Restart", b"/a%2fb/../System/Restart"),
    "/System/Shutdown": (b"/System/y%2fz/../Shutdown", b"/System/x//../../Shutdown"),
    "/Startup": (b"/Startup/x//../../Configuration", b"/a%2fb/../Startup/Configuration"),
    "/dlna": (b"/dlna/x%2f..%2f..%2fweb", b"/a%2fb/../dlna/x"),
}  # fmt: skip


def of(path: str, base: str = "", domain: str = "media.example.org", count: int = LEAST) -> list[bytes]:
    """`count` or more spellings of a path below a base, none twice."""
    chance = random.Random(f"{SEED} {path} {base}")
    found: dict[bytes, None] = {}
    front = base.encode()
    for target in REVIEW.get(path, ()):
        if not base or target.startswith(b"/"):
            found[front + target] = None
    for target in fixed(path.encode(), front, domain.encode()):
        found[target] = None
    while len(found) < count:
        found[mixed(path.encode(), front, chance)] = None
    return list(found)


def fixed(path: bytes, base: bytes, domain: bytes) -> Iterator[bytes]:
    """Each trick once, at each of its places."""
    whole = base + path
    segments = path.split(b"/")[1:]
    yield from (whole, whole.upper(), whole.lower(), whole.swapcase(), base.upper() + path, base + path.title())
    # Doubled and encoded slashes, dots, parameters: before, between, behind.
    for slash in SLASH:
        yield base + slash + slash.join(segments)
        yield base + b"/" + slash.join(segments) + slash
        yield base + slash + path[1:]
        yield base + slash + b"x" + path
    for end in END:
        yield whole + end
        yield base + b"/" + segments[0] + end + b"".join(b"/" + segment for segment in segments[1:])
    # Up and down again.
    for up in UP:
        for aside in ASIDE[:6]:
            yield base + aside + b"/" + up + path
        yield base + b"/" + up + path
        yield base + path + b"/x/" + up
        yield base + b"/" + segments[0] + b"/x/" + up + b"".join(b"/" + segment for segment in segments[1:])
        yield base + path + b"/../" + up + path
        if base:
            yield b"/x/" + up + whole
            yield base + b"/" + up + whole
            yield b"/" + up + whole
    for slash in SLASH:
        yield base + b"/x" + slash + b".." + slash + path[1:]
        yield base + b"/x" + slash + b"%2e%2e" + slash + path[1:]
        yield base + b"/x" + slash + b".." + path
    for aside in ASIDE:
        yield base + aside + b"/.." + path
        yield base + aside + b"/../.." + path
    # Letters.
    for at, letter in enumerate(path):
        if letter == ord("/"):
            continue
        for form in spelled(letter):
            yield base + path[:at] + form + path[at + 1 :]
    for at in range(1, len(base)):
        yield base[:at] + b"%%%02x" % base[at] + base[at + 1 :] + path
    yield base + b"".join(b"%%%02x" % letter for letter in path)
    yield base + b"/" + b"".join(b"%%%02X" % letter for letter in path[1:])
    yield base + b"/" + b"".join(b"%%25%02x" % letter for letter in path[1:])
    # Prefixes.
    for prefix in LEGACY:
        yield base + prefix + path
        yield base + prefix + path + b"/"
        yield prefix + base + path
        yield base + prefix + b"/" + path
        yield base + prefix + b"/x/.." + path
        yield base + prefix + b"%2f" + path[1:]
        yield base + prefix + path[1:]
    if base:
        yield from (
            path,
            b"/x" + whole,
            base + whole,
            base + base + whole,
            base + b"x" + path,
            base + b"/.." + path,
            base + b"/../" + whole,
        )
        yield from (
            base + b"%2f" + path[1:],
            base + b"//" + path[1:],
            b"/" + whole,
            b"/./" + whole[1:],
            b"/%2e" + whole,
            base + b";" + path,
        )
    # Absolute form, and what an authority can hide.
    for scheme in (b"http", b"https", b"HTTPS", b"ftp", b"ws"):
        for authority in (
            domain,
            domain + b":443",
            domain + b":8096",
            b"x@" + domain,
            domain + b"@x",
            b"127.0.0.1:8196",
            b"localhost",
            b"",
            b"x:y@" + domain,
        ):
            yield scheme + b"://" + authority + whole
    for target in (
        b"/x/.." + path,
        b"/x%2f.." + path,
        b"\\x\\.." + path,
        b"#" + path,
        b"?" + path,
        b"/x#/.." + path,
        path.upper(),
    ):
        yield b"http://" + domain + base + target
        yield b"https://" + domain + base + target
    yield from (
        b"//" + domain + whole,
        b"///" + domain + whole,
        b"/\\" + domain + whole,
        b"/http://" + domain + whole,
        b"http:" + whole,
        b"https:/" + whole,
    )
    yield from (
        whole[1:],
        b"." + whole,
        b"*" + whole,
        b"%2f" + whole[1:],
        b"\\" + whole[1:],
        b"?" + whole,
        b"#" + whole,
        b";" + whole,
        b"@" + whole,
    )
    # Bytes that belong in no target.
    for byte in (*range(1, 9), 11, 12, *range(14, 32), 127, 128, 0xA0, 0xFF):
        if byte % 4 == 0 or byte > 126:
            yield whole + bytes([byte])
            yield base + b"/" + bytes([byte]) + b"/.." + path
    yield from (
        whole + b"\t",
        b"\t" + whole,
        base + b"/x\t/.." + path,
        base + b"/\xc3\xa4/.." + path,
        base + b"/\xff/.." + path,
    )
    # Long ones.
    yield base + b"/" + b"a/" * 900 + b"../" * 900 + path[1:]
    yield base + b"/" * 1500 + path[1:]
    yield base + b"/." * 1000 + path
    yield base + b"/" + b"x" * 3000 + b"/.." + path
    yield whole + b"?" + b"x" * 3000
    yield base + b"/%2e%2e" * 300 + path


def spelled(letter: int) -> Iterator[bytes]:
    """One letter in other ways: encoded in both cases of hexadecimal, twice, overlong, and by what looks like it or folds to it."""
    for byte in {letter, ord(chr(letter).upper()), ord(chr(letter).lower())}:
        yield b"%%%02x" % byte
        yield b"%%%02X" % byte
        yield b"%%25%02x" % byte
        yield b"%%u00%02x" % byte
        yield b"%%%02x%%%02x" % (0xC0 | byte >> 6, 0x80 | byte & 0x3F)
        yield b"%%e0%%%02x%%%02x" % (0x80 | byte >> 6, 0x80 | byte & 0x3F)
    yield bytes([letter]) + b"%cc%81"
    yield from LOOKS.get(chr(letter).lower(), ())


def mixed(path: bytes, base: bytes, chance: random.Random) -> bytes:
    """Several tricks at once."""

    def any_of(choices: tuple[bytes, ...], plain: bytes, often: float = 0.4) -> bytes:
        return chance.choice(choices) if chance.random() < often else plain

    out = base if chance.random() < 0.9 else any_of(SLASH, b"/") + base[1:]
    if chance.random() < 0.3:
        out += chance.choice(LEGACY)
    for _ in range(chance.choice((0, 0, 1, 1, 2))):
        out += chance.choice(ASIDE) + any_of(SLASH, b"/", 0.5) + chance.choice(UP[:14])
    segments = path.split(b"/")[1:]
    for index, segment in enumerate(segments):
        out += any_of(SLASH, b"/", 0.3)
        if index and chance.random() < 0.2:
            out += chance.choice(ASIDE)[1:] + b"/" + chance.choice(UP[:8]) + b"/"
        for letter in segment:
            roll = chance.random()
            if roll < 0.15:
                out += chance.choice(list(spelled(letter)))
            elif roll < 0.4:
                out += bytes([letter]).swapcase()
            else:
                out += bytes([letter])
    return out + any_of(END, b"", 0.5)
