"""Bytes that are worth sending: a large file with ranges, and a stream that takes its time."""

from __future__ import annotations

import asyncio
import email.utils
import os
import re
from pathlib import Path

from aiohttp import web

MARK = 1 << 20  # at every MiB the file says where it is, so that a wrong offset shows
CHUNK = 1 << 18


def make_film(path: Path, size: int) -> None:
    """A sparse file: 16 hex digits of the offset at each MiB, zeros between."""
    if path.exists() and path.stat().st_size == size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as film:
        film.truncate(size)
        for offset in range(0, size - 16, MARK):
            os.pwrite(film.fileno(), b"%016x" % offset, offset)


async def send_file(request: web.Request, path: Path, kind: str, headers: dict[str, str]) -> web.StreamResponse:
    """A file with ranges: what the server streams, and the static files of its web client."""
    stat = path.stat()
    size, etag = stat.st_size, f'"{int(stat.st_mtime):x}-{stat.st_size:x}"'
    modified = email.utils.formatdate(int(stat.st_mtime), usegmt=True)
    headers = headers | {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Last-Modified": modified,
        "Content-Type": kind,
    }
    first, last, status = 0, size - 1, 200
    asked = request.headers.get("Range", "")
    if asked and request.headers.get("If-Range", etag) in (etag, modified):
        bounds = wanted(asked, size)
        if bounds == "unsatisfiable":
            return web.Response(status=416, headers=headers | {"Content-Range": f"bytes */{size}"})
        if isinstance(bounds, tuple):
            first, last = bounds
            status = 206
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = last - first + 1
    await response.prepare(request)
    if request.method != "HEAD":
        with path.open("rb") as film:
            while first <= last:
                chunk = os.pread(film.fileno(), min(CHUNK, last - first + 1), first)
                await response.write(chunk)
                first += len(chunk)
    await response.write_eof()
    return response


def wanted(text: str, size: int) -> tuple[int, int] | str | None:
    """One range; several, or none that makes sense, mean the whole file, as the real server does it."""
    match = re.fullmatch(r"bytes=\s*(\d*)-(\d*)\s*", text)
    if not match or match.groups() == ("", ""):
        return None
    begin, end = match.groups()
    if not begin:
        length = min(int(end), size)
        return (size - length, size - 1) if length else "unsatisfiable"
    first, last = int(begin), min(int(end), size - 1) if end else size - 1
    if end and int(end) < first:
        return None
    return (first, last) if first < size else "unsatisfiable"


async def send_slowly(request: web.Request, headers: dict[str, str]) -> web.StreamResponse:
    """`count` numbered lines, one every `every` seconds; `size` bytes each. Without a length, as a live transcode has none."""
    count = int(request.query.get("count", "10"))
    every = float(request.query.get("every", "0.5"))
    size = int(request.query.get("size", "64"))
    response = web.StreamResponse(headers=headers | {"Content-Type": "video/mp2t"})
    await response.prepare(request)
    for number in range(count):
        await response.write(f"{number}\n".encode().rjust(size, b"."))
        await asyncio.sleep(every)
    await response.write_eof()
    return response
