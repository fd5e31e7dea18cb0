"""What ASP.NET Core's server makes of a request, and which of Jellyfin's routes that leads to. Pure; after dotnet/aspnetcore's source.

Jellyfin 10.10 and 10.11 run on Kestrel of .NET 8 and 9. Each rule names the file and the method that it follows; the files are below
src/Servers/Kestrel/Core/src/Internal unless another folder is named. targets.json is a table of targets and what becomes of each.

It says what the SERVER does, however odd. What a proxy should let through is another matter (plugins/module_utils/_request_rules.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

# KestrelServerLimits.cs: MaxRequestLineSize, MaxRequestHeadersTotalSize, MaxRequestHeaderCount.
LINE_LIMIT, HEAD_LIMIT, FIELD_LIMIT = 8192, 32768, 100
# Shared/ServerInfrastructure/HttpCharacters.cs
_ALNUM = rb"0-9A-Za-z"
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~" + _ALNUM + rb"]+")
_AUTHORITY = re.compile(rb"[:.\-\[\]@" + _ALNUM + rb"]*")
_HOST = re.compile(rb"[!$&'()\-._~" + _ALNUM + rb"]+(?::[0-9]+)?|\[[0-9A-Fa-f:.]{3,}\](?::[0-9]+)?|")
_HEX = b"0123456789abcdefABCDEF"
_ENCODED = re.compile(rb"(?:%[0-9A-Fa-f]{2})+")

PROTECTED: tuple[tuple[str, ...], ...] = (
    ("metrics",),
    ("dlna",),
    ("system", "restart"),
    ("system", "shutdown"),
    ("startup",),
)
# Jellyfin.Api/Controllers/UserController.cs, QuickConnectController.cs: where a password, a PIN or a secret is tried.
LOGIN: tuple[tuple[str, ...], ...] = (
    ("users", "authenticatebyname"),
    ("users", "authenticatewithquickconnect"),
    ("users", "*", "authenticate"),
    ("users", "forgotpassword"),
    ("users", "forgotpassword", "pin"),
    ("quickconnect", "connect"),
    ("quickconnect", "initiate"),
)


@dataclass(frozen=True)
class Reading:
    """What became of a target. `status` 200: the application gets `path` and `query`; else the server answers that itself."""

    status: int
    path: str = ""
    query: str = ""
    raw: str = ""


@dataclass(frozen=True)
class Head:
    """A request's head. `length` is the body's, None when it is chunked."""

    status: int
    method: bytes = b""
    reading: Reading = Reading(400)
    fields: tuple[tuple[bytes, bytes], ...] = ()
    length: int | None = 0
    keep_alive: bool = False

    def values(self, name: bytes) -> list[bytes]:
        """HttpHeaders.cs, IHeaderDictionary: names are compared without regard to case; `_` is no `-`."""
        return [value for key, value in self.fields if key.lower() == name.lower()]


REFUSED = Reading(400)


# --- the request's line -----------------------------------------------------------------------------------------------


def read(target: bytes, version: str = "1.1", method: bytes = b"GET") -> Reading:
    """A target as it came, `version` 1.0, 1.1, 2 or 3."""
    if version in ("2", "3"):
        return _pseudo_path(target, method)
    return _line(method + b" " + target + b" HTTP/" + version.encode() + b"\r")[1]


def _line(line: bytes) -> tuple[bytes, Reading, bool]:
    """Http/HttpParser.cs, ParseRequestLine: the line without its LF. Method, target, whether it is HTTP/1.1."""
    refused = b"", REFUSED, False
    if len(line) + 1 > LINE_LIMIT:  # Http/Http1Connection.cs, TakeStartLine
        return b"", Reading(414), False
    if b"\0" in line or b"\n" in line:  # either ends the line; NUL is refused
        return refused
    token = _TOKEN.match(line)  # GetKnownMethod, GetUnknownMethodLength
    if token is None or line[token.end() : token.end() + 1] != b" ":
        return refused
    method, rest = token.group(), line[token.end() + 1 :]
    if rest[:1] in (b"", b" ", b"?", b"%"):  # empty, or it begins with an encoding
        return refused
    # The path ends at the first space or `?`, the query at the first space; `#` is an ordinary character.
    path = re.match(rb".[^ ?]*", rest, re.S)
    assert path is not None
    target = re.match(rb"[^ ]*", rest, re.S)
    assert target is not None
    after = rest[target.end() :].lstrip(b" ")  # several spaces before the version are skipped
    if target.end() == len(rest) or after not in (b"HTTP/1.1\r", b"HTTP/1.0\r", b"HTTP/1.1", b"HTTP/1.0"):
        known = re.fullmatch(rb"[^ ]{8}\r?", after)  # RejectUnknownVersion
        return b"", Reading(505 if known else 400), False
    return method, _start_line(method, target.group(), len(path.group())), after.startswith(b"HTTP/1.1")


def _start_line(method: bytes, target: bytes, length: int) -> Reading:
    """Http/Http1Connection.cs, OnStartLine: which form it is. `length` is the path's."""
    if target.startswith(b"/"):
        return _origin(target, length)
    if target == b"*":  # OnAsteriskFormTarget
        return Reading(200, "", "", "*") if method == b"OPTIONS" else Reading(405)
    if target.startswith((b"http://", b"https://")):  # HttpUtilities.GetKnownHttpScheme: in small letters alone
        return _absolute(target, length)
    # OnAuthorityFormTarget
    if _AUTHORITY.fullmatch(target) is None:
        return REFUSED
    return Reading(200, "", "", target.decode()) if method == b"CONNECT" else Reading(405)


def _origin(target: bytes, length: int) -> Reading:
    """Http/Http1Connection.cs, OnOriginFormTarget and ParseTarget."""
    raw = _ascii(target)
    path = _decode_path(target[:length])
    return REFUSED if raw is None or path is None else Reading(200, path, raw[length:], raw)


def _ascii(data: bytes) -> str | None:
    """Shared/ServerInfrastructure/StringUtilities.cs, GetAsciiStringNonNullCharacters: other control characters pass."""
    return data.decode("ascii") if data.isascii() and b"\0" not in data else None


def _pseudo_path(target: bytes, method: bytes) -> Reading:
    """Http2/Http2Stream.cs and Http3/Http3Stream.cs, TryValidatePseudoHeaders and TryValidatePath: a refusal resets the stream."""
    if target == b"*" and method == b"OPTIONS":
        return Reading(200, "", "", "*")
    if len(target) > LINE_LIMIT or not target.startswith(b"/"):
        return REFUSED
    if not all(32 < byte < 127 for byte in target):  # the header's parser is meant to have seen to it
        return REFUSED
    return _origin(target, len(target.partition(b"?")[0]))


# --- the path ---------------------------------------------------------------------------------------------------------


def _decode_path(path: bytes) -> str | None:
    """Http/PathNormalizer.cs (PathDecoder.cs in newer ones), DecodePath: decoded once, dot segments afterwards."""
    if b"%" in path:
        decoded = _decode(path)
        if decoded is None:
            return None
        # Encoding.UTF8.GetString: what is no UTF-8 becomes U+FFFD; only bytes below 0x80 and whole characters come here.
        return _remove_dot_segments(decoded).decode("utf-8", "replace")
    return _ascii(_remove_dot_segments(path))


def _decode(data: bytes) -> bytes | None:
    """src/Shared/UrlDecoder/UrlDecoder.cs, DecodeInPlace: None for an encoded NUL, which is refused."""
    out, at = bytearray(), 0
    while at < len(data):
        if data[at] != ord("%"):
            out.append(data[at])
            at += 1
            continue
        character, end = _character(data, at)
        if character == b"\0":
            return None
        out += character or data[at:end]  # what cannot be decoded stays as it is
        at = end
    return bytes(out)


def _character(data: bytes, at: int) -> tuple[bytes, int]:
    """UrlDecoder.cs, DecodeCore: one encoded character of UTF-8 (b'' if it is none), and the first byte not looked at."""
    first, at = _octet(data, at)
    if first < 0:
        return b"", at
    if first <= 0x7F:
        return bytes([first]), at
    for mask, lead, size, least in ((0xE0, 0xC0, 2, 0x80), (0xF0, 0xE0, 3, 0x800), (0xF8, 0xF0, 4, 0x10000)):
        if first & mask == lead:
            count, minimum = size, least
            break
    else:
        return b"", at
    value, octets = first & ~mask & 0xFF, [first]
    for left in range(count - 2, -1, -1):
        if at == len(data):
            return b"", at
        more, after = _octet(data, at)
        if more < 0 or more & 0xC0 != 0x80:
            return b"", at
        value = value << 6 | more & 0x3F
        if (left == 1 and 0x360 <= value <= 0x37F) or (left == 2 and value >= 0x110):  # surrogates; above U+10FFFF
            return b"", at
        at = after
        octets.append(more)
    return (bytes(octets), at) if value >= minimum else (b"", at)  # an overlong form is none


def _octet(data: bytes, at: int) -> tuple[int, int]:
    """UrlDecoder.cs, UnescapePercentEncoding and SkipUnescape: `%2f` stays, and so does what is no hexadecimal number."""
    at += 1
    if data[at - 1] != ord("%"):
        return -1, at
    digits = data[at : at + 2]
    if len(digits) != 2 or any(digit not in _HEX for digit in digits) or digits.lower() == b"2f":
        return -1, at
    return int(digits, 16), at + 2


def _remove_dot_segments(path: bytes) -> bytes:
    """Http/PathNormalizer.cs, RemoveDotSegments: RFC 3986, section 5.2.4, on the decoded bytes; `%2f` and `\\` separate nothing."""
    out: list[bytes] = []
    segments = path.split(b"/")[1:]
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == b"..":
            del out[-1:]
        elif segment != b".":
            out.append(segment)
            continue
        if last:
            out.append(b"")
    return b"/" + b"/".join(out)


def _absolute(target: bytes, length: int) -> Reading:
    """Http/Http1Connection.cs, OnAbsoluteFormTarget: the path is Uri.LocalPath of .NET's own parser (dotnet/runtime, System/Uri.cs).

    That one takes `\\` for a slash, cuts at `#`, resolves dot segments, and decodes `%2f` and `%5c` last. The authority has to be the Host's.
    """
    raw = _ascii(target)
    if raw is None:
        return REFUSED
    rest = target.partition(b"://")[2]
    authority = re.match(rb"[^/?#]*", rest)
    assert authority is not None
    if not authority.group().rpartition(b"@")[2] or b"\\" in authority.group():
        return REFUSED
    path = re.match(rb"[^?#]*", rest[authority.end() :], re.S)
    assert path is not None
    # Unreserved characters are decoded before the dots are looked at, all others afterwards.
    tidy = re.sub(rb"%(?:2[de]|3\d|4[1-9a-f]|5[0-9af]|6[1-9a-f]|7[0-9ae])", _plain, path.group() or b"/", flags=re.I)
    local = _ENCODED.sub(_decoded, _remove_dot_segments(tidy.replace(b"\\", b"/")))
    return Reading(200, local.decode("utf-8", "replace"), raw[length:], raw)


def _decoded(found: re.Match[bytes]) -> bytes:
    """What is no UTF-8 stays encoded."""
    octets = unquote_to_bytes(found.group())
    try:
        octets.decode()
    except UnicodeDecodeError:
        return b"".join(_decoded_byte(found.group()[at : at + 3]) for at in range(0, len(found.group()), 3))
    return octets


def _decoded_byte(encoded: bytes) -> bytes:
    return unquote_to_bytes(encoded) if encoded[1:2] < b"8" else encoded


def _plain(found: re.Match[bytes]) -> bytes:
    return bytes([int(found.group()[1:], 16)])


# --- the head ---------------------------------------------------------------------------------------------------------


def read_head(head: bytes) -> Head:
    """A whole head to its empty line. Http/HttpParser.cs, ParseHeaders; Http/Http1Connection.cs; Http/Http1MessageBody.cs, For."""
    # Http1Connection.cs, ParseRequest: empty lines before a request are skipped.
    line, found, rest = re.sub(rb"^(?:\r\n)+", b"", head).partition(b"\n")
    if not found or not line:
        return Head(400)
    method, reading, newer = _line(line)
    if reading.status != 200:
        return Head(reading.status, method, reading)
    if len(head) > LINE_LIMIT + HEAD_LIMIT:
        return Head(431, method, reading)
    fields = _fields(rest)
    if fields is None:
        return Head(400, method, reading)
    if len(fields) > FIELD_LIMIT:
        return Head(431, method, reading, fields)
    told = Head(200, method, reading, fields)
    if not _host_holds(told, newer):
        return Head(400, method, reading, fields)
    status, length, keep = _body(told, newer)
    return Head(status, method, reading, fields, length, keep)


def _fields(block: bytes) -> tuple[tuple[bytes, bytes], ...] | None:
    """HttpParser.cs, ParseHeaders and TryTakeSingleHeader: lines end with CRLF or LF alone; a CR elsewhere is refused, a folded line too."""
    fields: list[tuple[bytes, bytes]] = []
    while True:
        line, found, block = block.partition(b"\n")
        if not found:
            return None
        line = line[:-1] if line.endswith(b"\r") else line
        if not line:
            return tuple(fields)
        name, colon, value = line.partition(b":")
        # HttpUtilities.cs, GetHeaderName and GetRequestHeaderString: no NUL, the name in ASCII (it need be no token), the value in UTF-8.
        if b"\r" in line or b"\0" in line or not colon or not name.isascii() or not name:
            return None
        if b" " in name or b"\t" in name:
            return None
        try:
            value.decode()
        except UnicodeDecodeError:
            return None
        fields.append((name, value.strip(b" \t")))


def _host_holds(head: Head, newer: bool) -> bool:
    """Http/Http1Connection.cs, EnsureHostHeaderExists and ValidateNonOriginHostHeader."""
    hosts = head.values(b"host")
    if not hosts:
        return not newer
    if len(hosts) > 1 or _HOST.fullmatch(hosts[0]) is None:  # HttpUtilities.cs, IsHostHeaderValid
        return False
    raw = head.reading.raw.encode()
    if raw.startswith(b"http"):
        scheme, _, rest = raw.partition(b"://")
        authority = re.split(rb"[/\\?#]", rest)[0].rpartition(b"@")[2].lower()
        port = b":443" if scheme == b"https" else b":80"
        return hosts[0] in (authority.removesuffix(port), authority.removesuffix(port) + port)
    return raw.startswith((b"/", b"*")) or hosts[0] == raw


def _body(head: Head, newer: bool) -> tuple[int, int | None, bool]:
    """Http/Http1MessageBody.cs, For: status, the body's length (None: chunked), whether the connection stays."""
    connection = {part.strip().lower() for value in head.values(b"connection") for part in value.split(b",")}
    keep = (newer and b"close" not in connection) or (not newer and b"keep-alive" in connection)
    lengths = head.values(b"content-length")
    # HttpHeaders.cs, AppendContentLength: one number that fits into 63 bits; a plus before it is taken.
    if len(lengths) > 1 or (lengths and not (re.fullmatch(rb"[+]?[0-9]+", lengths[0]) and int(lengths[0]) < 1 << 63)):
        return 400, 0, False
    encodings = head.values(b"transfer-encoding")
    # An upgrade is no matter of the request's body where it has one.
    if encodings:
        # HttpHeaders.cs, GetFinalTransferCoding: what stands behind the last comma that is not empty. A length beside it counts for nothing,
        # and the connection ends after the answer.
        codings = [part.strip(b" \t").lower() for value in encodings for part in value.split(b",")]
        codings = [coding for coding in codings if coding]
        chunked = bool(codings) and codings[-1] == b"chunked"
        return (200, None, keep and not lengths) if chunked else (400, 0, False)
    if lengths:
        return 200, int(lengths[0]), keep
    if not newer and head.method in (b"POST", b"PUT"):
        return 400, 0, False  # LengthRequiredHttp10
    return 200, 0, keep


@dataclass(frozen=True)
class Body:
    """A chunked body: its data, its trailers, and how many bytes it takes; `status` 0 where more has to come, 400 where it is malformed."""

    status: int
    data: bytes = b""
    trailers: tuple[tuple[bytes, bytes], ...] = ()
    size: int = 0


def read_chunked(wire: bytes) -> Body:
    """Http/Http1ChunkedEncodingMessageBody.cs, Read."""
    data, at = b"", 0
    while True:
        # ParseChunkedPrefix: at least one digit, no more than fit into 31 bits; ParseExtension: to CRLF.
        line = re.compile(rb"([0-9A-Fa-f]+)(;[^\r\n]*)?\r\n").match(wire, at)
        if line is None:
            partial = re.compile(rb"(?:[0-9A-Fa-f]{1,10}(?:;[^\r\n]*)?\r?)?").fullmatch(wire, at)
            return Body(0 if partial else 400)
        size, at = int(line.group(1), 16), line.end()
        if len(line.group(1)) > 10 or size >= 1 << 31:
            return Body(400)
        if not size:
            break
        data += wire[at : at + size]
        at += size
        if not b"\r\n".startswith(wire[at : at + 2]):  # ParseChunkedSuffix
            return Body(400)
        if len(wire) < at + 2:
            return Body(0)
        at += 2
    # ParseChunkedTrailer: trailers are read as fields are.
    end = re.compile(rb"(?:[^\n]*[^\r\n][^\n]*\n)*\r?\n").match(wire, at)
    if end is None:
        return Body(0)
    trailers = _fields(end.group())
    return Body(400) if trailers is None else Body(200, data, trailers, end.end())


# --- the route --------------------------------------------------------------------------------------------------------


def below(path: str, base: str = "") -> str | None:
    """What the application's routing is given of a decoded path; `base` is Jellyfin's BaseUrl. None where it comes to no route."""
    # Jellyfin.Api/Middleware/BaseUrlRedirectionMiddleware.cs; src/Http/Http/PathString.cs, StartsWithSegments, for Startup.cs' Map(BaseUrl).
    if base:
        if not _fold(path).startswith(_fold(base)) or path[len(base) :][:1] not in ("", "/"):
            return None
        path = path[len(base) :]
    # LegacyEmbyRouteRewriteMiddleware.cs up to 10.11: one of them, once. What then begins with no slash is no PathString, and refused.
    for prefix in ("/emby", "/mediabrowser"):
        if _fold(path).startswith(prefix):
            path = path[len(prefix) :]
            break
    return path if path.startswith("/") else None


def segments(path: str) -> list[str]:
    """src/Http/Routing/src/Matching/FastPathTokenizer.cs: an empty segment is one, but for the last; no literal or parameter matches it."""
    found = _fold(path)[1:].split("/")
    return found if found[-1] else found[:-1]


def routes_to(path: str, base: str = "") -> str | None:
    """The protected route or the one for logging in that a decoded path leads to."""
    inside = below(path, base)
    if inside is None:
        return None
    asked = segments(inside)
    for route in PROTECTED:  # with all that lies below
        if tuple(asked[: len(route)]) == route:
            return "/" + "/".join(route)
    for route in LOGIN:
        if len(asked) == len(route) and all(want in ("*", got) and got for want, got in zip(route, asked, strict=True)):
            return "/" + "/".join(route)
    return None


def _fold(text: str) -> str:
    """OrdinalIgnoreCase. .NET leaves U+017F and U+0131 out of it (pal_casing.c, InitOrdinalCasingPage) and U+212A is no K to it;

    they are taken for letters all the same, because another reader, or a later one, may.
    """
    return text.translate({0x17F: "s", 0x131: "i", 0x212A: "k"}).lower()
