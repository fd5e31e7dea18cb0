"""network.xml as .NET's XmlSerializer reads it: one bad value, and the whole file counts for nothing."""

from __future__ import annotations

import logging
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

LOG = logging.getLogger("double")

DEFAULTS: dict[str, Any] = {
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
    "EnableUPnP": False,
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
BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def read(path: Path) -> dict[str, Any]:
    """The settings in force: the file's, or the defaults if it is missing or has any fault."""
    settings = {key: list(value) if isinstance(value, list) else value for key, value in DEFAULTS.items()}
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return settings
    try:
        found = parse(text)
    except (ElementTree.ParseError, ValueError) as error:
        LOG.error("Error loading configuration file: %s (%s)", path, error)
        return settings
    return normalised(settings | found)


def parse(text: bytes) -> dict[str, Any]:
    root = ElementTree.fromstring(text)
    if root.tag != "NetworkConfiguration":
        raise ValueError(f"<{root.tag}> was not expected")
    found: dict[str, Any] = {}
    for element in root:
        name = element.tag
        if name not in DEFAULTS or name in found:  # unknown, or a second one: ignored
            continue
        default = DEFAULTS[name]
        if isinstance(default, list):
            found[name] = [item.text or "" for item in element if item.tag == "string"]
            continue
        content = element.text or ""
        if isinstance(default, bool):
            if content.strip() not in BOOLEANS:
                raise ValueError(f"<{name}>: the string {content!r} is not a valid Boolean value")
            found[name] = BOOLEANS[content.strip()]
        elif isinstance(default, int):
            number = content.strip()
            if not number.lstrip("+-").isascii() or not number.lstrip("+-").isdigit():
                raise ValueError(f"<{name}>: the input string {content!r} was not in a correct format")
            found[name] = int(number)
        else:
            found[name] = content
    return found


def normalised(settings: dict[str, Any]) -> dict[str, Any]:
    base = settings["BaseUrl"].strip().rstrip("/")
    settings["BaseUrl"] = "" if not base else base if base.startswith("/") else f"/{base}"
    if settings["InternalHttpPort"] == settings["InternalHttpsPort"]:
        settings["InternalHttpPort"], settings["InternalHttpsPort"] = 8096, 8920
    return settings


def write(path: Path, settings: dict[str, Any]) -> None:
    """A save rewrites the file wholly, in the server's own form; what it does not know is lost."""
    root = ElementTree.Element("NetworkConfiguration")
    root.set("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
    root.set("xmlns:xsd", "http://www.w3.org/2001/XMLSchema")
    for name, default in DEFAULTS.items():
        value = settings.get(name, default)
        element = ElementTree.SubElement(root, name)
        if isinstance(default, list):
            for item in value:
                ElementTree.SubElement(element, "string").text = str(item)
        else:
            element.text = str(value).lower() if isinstance(default, bool) else str(value)
    ElementTree.indent(root)
    path.write_bytes(b'<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root))
