"""The report in a real browser: it has content, is readable (WCAG AA) in light and dark, and fits a phone of 360 px.

The screenshots stay in .cache/report-page/ for who wants to look.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "unit"))

from ansible_collections.jellynet.jellyfin.plugins.plugin_utils import _verify, _verify_report  # noqa: E402
from verify_sample import DOMAIN, deployment, site  # noqa: E402

PICTURES = ROOT / ".cache" / "report-page"
LONG = "a-very-long-name-of-the-second-site-on-this-edge.films.at-home.example.org"
DARK, LIGHT = "0", "1"  # Blink's numbers

# Runs inside the page: its width, and each text's contrast with what lies behind it (WCAG 2.2, 1.4.3).
MEASURE = """
function channels(text) { return text.match(/[\\d.]+/g).map(Number); }
function luminance(c) {
  const [r, g, b] = c.slice(0, 3).map(v => { v /= 255; return v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; });
  return .2126 * r + .7152 * g + .0722 * b;
}
function behind(element) {
  for (let e = element; e; e = e.parentElement) {
    const c = channels(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > .99) return c;
  }
  return [255, 255, 255];
}
function measure(document) {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), poor = [];
  let texts = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !element.getClientRects().length) continue;
    texts++;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize), bold = parseInt(style.fontWeight) >= 700;
    const [a, b] = [luminance(channels(style.color)), luminance(behind(element))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05), wanted = size >= 24 || (bold && size >= 18.66) ? 3 : 4.5;
    if (ratio < wanted) poor.push([text.slice(0, 40), ratio.toFixed(2)]);
  }
  const spilt = [...document.querySelectorAll('.checks li > *, .facts > *, .bars > *, .tile > *')]
    .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline').map(e => e.textContent.trim().slice(0, 40));
  // Each part of the heading's name is a text of its own and stands on one line.
  const torn = [...document.querySelector('h1').childNodes].filter(node => node.nodeType === 3).filter(node => {
    const range = document.createRange(); range.selectNodeContents(node); return range.getClientRects().length > 1;
  }).map(node => node.textContent);
  const root = document.documentElement;
  return { texts, poor, spilt, torn, width: root.clientWidth, scrollWidth: root.scrollWidth, height: root.scrollHeight,
    dark: document.defaultView.matchMedia('(prefers-color-scheme: dark)').matches,
    gradeSize: parseFloat(getComputedStyle(document.querySelector('.tile b')).fontSize),
    requests: document.defaultView.performance.getEntriesByType('resource').length };
}
"""


def good() -> Any:
    return deployment()


def bad() -> Any:
    parts = deployment(sites=[site(), site(domain=LONG)])
    parts[0]["wan"] = {}
    parts[0]["lan"]["seen"][f"{DOMAIN}|websocket"]["status"] = 404
    parts[2]["firewalls"]["firewalld"]["active"] = False
    parts[0]["grades"][LONG].update(
        grade="T",
        grade_ignoring_trust="B",
        caps=[
            {
                "rule": "trust",
                "revision": "2009",
                "cap": "T",
                "text": "The certificate is not trusted.",
                "observed": "it is self-signed",
            },
            {
                "rule": "old-tls",
                "revision": "2009q",
                "cap": "B",
                "text": "TLS 1.0 or TLS 1.1 is supported.",
                "observed": "TLSv1.1 offered",
            },
        ],
        grade_warnings=[
            {
                "rule": "no-tls13",
                "revision": "2009r",
                "text": "TLS 1.3 is not supported.",
                "observed": "TLS 1.3 is not offered",
            }
        ],
    )
    return parts


def ungraded() -> Any:
    parts = deployment()
    parts[0]["grades"] = {
        DOMAIN: {"failed": True, "msg": f"No grade for {DOMAIN} at 192.168.1.2 port 443: connection refused"}
    }
    return parts


@pytest.fixture(scope="module")
def browser() -> str:
    found = shutil.which("chromium")
    assert found, "the page is looked at in chromium: apt-get install chromium"
    return found


def page_of(parts: Any) -> str:
    checks = _verify.judge(*parts)
    said = _verify_report.report("edge.home.example.org", checks, parts[0]["grades"], parts[1])
    return _verify_report.page(
        said, (ROOT / "roles" / "verify" / "templates" / "report.html.j2").read_text(encoding="utf-8")
    )


def run(browser: str, folder: Path, scheme: str, *arguments: str) -> str:
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
    ]
    flags += ["--disable-component-update", "--disable-sync", "--hide-scrollbars", "--allow-file-access-from-files"]
    flags += [f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={scheme}"]
    return subprocess.run([browser, *flags, *arguments], capture_output=True, text=True, timeout=240, check=True).stdout


def measured(browser: str, folder: Path, page: Path, width: int, scheme: str) -> dict[str, Any]:
    """The page in a frame of exactly this width: a browser's window has a least width of its own."""
    outer = folder / f"measure-{width}-{scheme}.html"
    outer.write_text(
        f"<!doctype html><body style='margin:0'><iframe id=f src='{page}' style='border:0;width:{width}px;height:900px'></iframe>"
        f"<script>{MEASURE} document.getElementById('f').onload = e => {{ const p = document.createElement('pre'); p.id = 'result';"
        "const m = measure(e.target.contentDocument); e.target.style.height = m.height + 'px';"
        "p.textContent = JSON.stringify(m); p.style.display = 'none'; document.body.append(p); };</script>"
    )
    dom = run(browser, folder, scheme, "--virtual-time-budget=4000", "--dump-dom", outer.as_uri())
    found = re.search(r'<pre id="result"[^>]*>(.*?)</pre>', dom, re.DOTALL)
    assert found, f"the page was not measured: {dom[:500]}"
    return json.loads(html.unescape(found.group(1)))


def colours(picture: Path) -> tuple[int, int, int]:
    """Width, height and the number of different rows of a PNG: a blank page has one."""
    data = picture.read_bytes()
    width, height = struct.unpack(">II", data[16:24])
    stream, offset = b"", 8
    while offset < len(data):
        size, kind = struct.unpack_from(">I4s", data, offset)
        stream += data[offset + 8 : offset + 8 + size] if kind == b"IDAT" else b""
        offset += 12 + size
    raw = zlib.decompress(stream)
    row = len(raw) // height
    return width, height, len({raw[start : start + row] for start in range(0, len(raw), row)})


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("sample", [good, bad, ungraded], ids=["good", "bad", "ungraded"])
def test_page(sample: Any, scheme: str, browser: str, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(page_of(sample()), encoding="utf-8")
    if sample is bad:
        assert "TLS 1.3 is not supported." in page.read_text(encoding="utf-8"), "a warning is a reason too"
    name = f"{sample.__name__}-{'dark' if scheme == DARK else 'light'}"
    PICTURES.mkdir(parents=True, exist_ok=True)
    for width in (360, 1100):
        seen = measured(browser, tmp_path, page, width, scheme)
        assert seen["poor"] == [], f"too little contrast at {width} px"
        assert seen["width"] == width and seen["scrollWidth"] <= width, f"it scrolls sideways at {width} px: {seen}"
        assert seen["spilt"] == [], f"text runs out of its cell at {width} px"
        assert seen["torn"] == [], f"the name is broken within a word at {width} px"
        assert seen["texts"] > 80
        assert seen["dark"] is (scheme == DARK)
        assert seen["requests"] == 0, "the page brings all along"
        if sample is not ungraded:
            assert seen["gradeSize"] >= 64
        picture = PICTURES / f"{name}-{width}.png"
        # The window is no narrower than 500 px; the picture of the phone is of the frame.
        target = page.as_uri() if width > 500 else (tmp_path / f"measure-{width}-{scheme}.html").as_uri()
        run(
            browser,
            tmp_path,
            scheme,
            f"--window-size={max(width, 500)},{min(seen['height'], 4000)}",
            f"--screenshot={picture}",
            target,
        )
        _width, height, rows = colours(picture)
        assert rows > height / 12, "the picture is almost empty"


def test_page_prints(browser: str, tmp_path: Path) -> None:
    page, paper = tmp_path / "report.html", tmp_path / "report.pdf"
    page.write_text(page_of(bad()), encoding="utf-8")
    run(browser, tmp_path, LIGHT, "--no-pdf-header-footer", f"--print-to-pdf={paper}", page.as_uri())
    content = paper.read_bytes()
    pages = content.count(b"/Type /Page\n") or content.count(b"/Type /Page ") or content.count(b"/Type/Page")
    assert content.startswith(b"%PDF-") and 1 <= pages <= 12
