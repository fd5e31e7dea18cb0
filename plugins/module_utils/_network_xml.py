# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jellyfin's network.xml: what it says, and the text with some of its elements set.

The file is NetworkConfiguration (MediaBrowser.Common/Net/NetworkConfiguration.cs) as .NET's XmlSerializer writes it: order
does not matter, what is missing has its default, booleans are lower case (a capital True makes the server ignore the whole file).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

# One of str, int, bool and list of str.
Value = Any

# Element: default of Jellyfin 10.9 to 12.0. The default's type is the element's type.
DEFAULTS: dict[str, Value] = {
    "BaseUrl": "",
    "EnableHttps": False,
    "RequireHttps": False,
    "CertificatePath": "",
    "CertificatePassword": "",
    "InternalHttpPort": 8096,
    "InternalHttpsPort": 8920,
    "PublicHttpPort": 8096,
    "PublicHttpsPort": 8920,
    "AutoDiscovery": True,
    "EnableIPv4": True,
    "EnableIPv6": False,
    "EnableRemoteAccess": True,
    "LocalNetworkSubnets": [],
    "LocalNetworkAddresses": [],
    "KnownProxies": [],
    "IgnoreVirtualInterfaces": True,
    "VirtualInterfaceNames": ["veth"],
    "EnablePublishedServerUriByRequest": False,
    "PublishedServerUriBySubnet": [],
    "RemoteIPFilter": [],
    "IsRemoteIPFilterBlacklist": False,
}
SECRET = frozenset(("CertificatePassword",))

EMPTY = (
    '<?xml version="1.0" encoding="utf-8"?>\n'
    '<NetworkConfiguration xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" '
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema">\n</NetworkConfiguration>\n'
)
_XSD = "http://www.w3.org/2001/XMLSchema"
_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class NetworkXmlError(ValueError):
    """The file is not what Jellyfin would read; the message says where and what to do."""


def _root(text: str) -> ElementTree.Element:
    # An entity declaration has no place in this file, and expanding one could fill the memory.
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise NetworkXmlError(
            "it declares a document type, which Jellyfin never writes. Restore the file from a backup"
        )
    try:
        root = ElementTree.fromstring(text.lstrip("\ufeff").encode("utf-8"))
    except ElementTree.ParseError as error:
        raise NetworkXmlError(
            f"it is no well-formed XML ({error}). Restore the file, or delete it to get the defaults"
        ) from error
    if root.tag != "NetworkConfiguration":
        raise NetworkXmlError(
            f"its root is <{root.tag}> and not <NetworkConfiguration>. Restore the file from a backup"
        )
    return root


def _read(element: ElementTree.Element, default: Value) -> Value:
    if isinstance(default, list):
        return [(child.text or "").strip() for child in element if child.tag == "string"]
    text = (element.text or "").strip()
    if isinstance(default, bool):
        if text not in _BOOLEANS:
            raise NetworkXmlError(
                f"<{element.tag}> is {text!r}: Jellyfin takes true or false in lower case and ignores the whole file otherwise"
            )
        return _BOOLEANS[text]
    if isinstance(default, int):
        if not re.match(r"^[0-9]{1,5}$", text):
            raise NetworkXmlError(
                f"<{element.tag}> is {text!r}: Jellyfin takes a number and ignores the whole file otherwise"
            )
        return int(text)
    return element.text or ""


def parse(text: str) -> dict[str, Value]:
    """The values in force: those of the file, the defaults for the rest."""
    values = dict(DEFAULTS)
    for element in _root(text):
        if element.tag in DEFAULTS:
            values[element.tag] = _read(element, DEFAULTS[element.tag])
    return values


def check_settings(settings: Mapping[str, Any]) -> list[str]:
    """What is wrong with settings that a user wants written, each a sentence."""
    problems = []
    for name, value in settings.items():
        if name not in DEFAULTS:
            problems.append(
                f"settings has {name!r}, which is no element of network.xml. It has {', '.join(sorted(DEFAULTS))}"
            )
            continue
        default = DEFAULTS[name]
        if isinstance(default, list):
            good = isinstance(value, list) and all(isinstance(item, str) for item in value)
            wanted = "a list of texts"
        elif isinstance(default, bool):
            good, wanted = isinstance(value, bool), "true or false"
        elif isinstance(default, int):
            good, wanted = (
                isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 65535,
                "a port number",
            )
        else:
            good, wanted = isinstance(value, str), "a text"
        if not good:
            shown = "of the wrong type" if name in SECRET else repr(value)
            problems.append(f"settings.{name} is {shown}: give {wanted}")
    return problems


def _write(element: ElementTree.Element, value: Value, indent: str) -> None:
    for child in list(element):
        element.remove(child)
    if isinstance(value, list):
        element.text = f"\n{indent}  " if value else None
        for position, item in enumerate(value):
            child = ElementTree.SubElement(element, "string")
            child.text = item
            child.tail = f"\n{indent}" if position == len(value) - 1 else f"\n{indent}  "
    elif isinstance(value, bool):
        element.text = "true" if value else "false"
    else:
        element.text = str(value) or None


def update(text: str, settings: Mapping[str, Value]) -> tuple[str, dict[str, tuple[Value, Value]]]:
    """The file's text with ``settings`` in it, and what differs: {element: (before, after)}.

    Everything else in the file is kept, elements that no version knows included. Equal values give the same text back.
    """
    root = _root(text or EMPTY)
    current = parse(text or EMPTY)
    changes = {name: (current[name], value) for name, value in settings.items() if current[name] != value}
    if not changes:
        return text, {}
    for name, (_before, after) in sorted(changes.items()):
        element = root.find(name)
        if element is None:
            last = root[-1] if len(root) else None
            if last is None:
                root.text = "\n  "
            else:
                last.tail = "\n  "
            element = ElementTree.SubElement(root, name)
            element.tail = "\n"
        _write(element, after, "  ")
    # ElementTree drops namespace declarations that no name uses; XmlSerializer always writes both.
    body = ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)
    head, rest = (
        body.split(">", 1)
        if not body.startswith("<NetworkConfiguration />")
        else ("<NetworkConfiguration", "</NetworkConfiguration>")
    )
    for prefix, uri in (("xsd", _XSD), ("xsi", _XSI)):
        if f"xmlns:{prefix}=" not in head:
            head = head.replace("<NetworkConfiguration", f'<NetworkConfiguration xmlns:{prefix}="{uri}"', 1)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + head + ">" + rest.rstrip() + "\n", changes
