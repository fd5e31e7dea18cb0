# Copyright (c) 2026, The jellynet authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with firewalld and ufw in memory, as far as the module uses them."""

from __future__ import annotations

import configparser
import ipaddress

from ansible_collections.jellynet.jellyfin.plugins.module_utils import _firewall_firewalld as firewalld
from ansible_collections.jellynet.jellyfin.plugins.module_utils import _firewall_ufw as ufw
from ansible_collections.jellynet.jellyfin.plugins.module_utils._firewall import FirewallError

PUBLIC = """<?xml version="1.0" encoding="utf-8"?>
<zone>
  <short>Public</short>
  <service name="ssh"/>
  <service name="dhcpv6-client"/>
  <forward/>
</zone>
"""


class Killed(BaseException):
    """The run ends here, in the middle."""


class Host:
    """Files, commands, and after how many changes the run is killed."""

    def __init__(self):
        self.files = {
            "/etc/default/ufw": 'IPV6=yes\nDEFAULT_INPUT_POLICY="DROP"\n',
            "/etc/ufw/ufw.conf": "ENABLED=no\nLOGLEVEL=low\n",
            "/etc/ufw/user.rules": "",
            "/etc/ufw/user6.rules": "",
            "/etc/firewalld/firewalld.conf": "# comment\nDefaultZone=public\n",
            "/usr/lib/firewalld/zones/public.xml": PUBLIC,
            "/usr/lib/firewalld/zones/home.xml": PUBLIC,
            "/usr/lib/firewalld/zones/trusted.xml": '<zone target="ACCEPT"/>',
            "/usr/lib/firewalld/zones/drop.xml": '<zone target="DROP"/>',
            "/usr/lib/firewalld/services/ssh.xml": '<service><port port="22" protocol="tcp"/></service>',
            "/proc/sys/net/ipv6/x": "1",
        }
        self.programs = {"ufw", "firewalld"}
        self.commands = []
        self.calls_left = None
        self.ufw = Ufw(self)
        self.bus = Bus(self)
        self.unit = "inactive"

    def change(self):
        """Every change of the host passes here."""
        if self.calls_left is not None:
            if self.calls_left == 0:
                raise Killed
            self.calls_left -= 1

    # What the backends see.
    def find(self, name):
        return "/usr/sbin/" + name if name in self.programs else None

    def read(self, path):
        return self.files.get(path, "")

    def names(self, folder):
        return sorted({path[len(folder) + 1 :].split("/")[0] for path in self.files if path.startswith(folder + "/")})

    def write(self, path, text):
        self.change()
        self.files.pop(path, None)
        if text:
            self.files[path] = text

    def run(self, argv):
        argv = list(argv)
        self.commands.append(argv)
        if argv[0] in ("iptables", "ip6tables"):
            return self.ufw.listing(argv[0])
        if argv[0] == "ufw":
            self.change()
            return self.ufw.command(argv[1:])
        if argv[0] == "firewall-offline-cmd":
            self.change()
            return self.bus.offline(argv[1:])
        if argv[:2] == ["systemctl", "is-active"]:
            return 3, self.unit + "\n", ""
        if argv[0] == "systemctl":
            self.change()
            if "firewalld.service" in argv and argv[1] in ("enable", "stop"):
                self.bus.on = argv[1] in ("enable", "start")
                if self.bus.on:
                    self.bus.reload()
            return 0, "", ""
        raise AssertionError(argv)

    def call(self, argv):
        rc, out, err = self.run(argv)
        if rc:
            raise FirewallError(err or out)
        return out


class Ufw:
    """Does to user.rules and to the kernel what the command `ufw` does."""

    def __init__(self, host):
        self.host = host
        self.kernel = None

    def entries(self, version):
        return ufw.entries(self.host.files[ufw.RULES[version]], version)

    def store(self, version, found):
        lines = []
        for entry in found:
            apps = f" {entry.dapp or '-'} {entry.sapp or '-'}" if entry.app else ""
            lines.append(
                f"### tuple ### {entry.action} {entry.proto} {entry.dport} {entry.dst} {entry.sport} {entry.src}"
                f"{apps} {entry.direction}\n"
            )
        self.host.files[ufw.RULES[version]] = "\n".join(lines)

    def ports(self, name):
        parser = configparser.RawConfigParser()
        for path, text in self.host.files.items():
            if path.startswith(ufw.PROFILES + "/"):
                parser.read_string(text)
        return [item.split("/") for item in parser.get(name, "ports").split("|")]

    def made(self, version, name, src, reply):
        everywhere = "0.0.0.0/0" if version == 4 else "::/0"
        return [
            ufw.Entry(
                version,
                "allow",
                proto,
                "any" if reply else port,
                everywhere,
                port if reply else "any",
                everywhere if src == "any" else src,
                "" if reply else name,
                name if reply else "",
                "in",
            )
            for port, proto in self.ports(name)
        ]

    def versions(self, src):
        if src == "any":
            return [4, 6] if "IPV6=yes" in self.host.files["/etc/default/ufw"] else [4]
        return [ipaddress.ip_network(src).version]

    def command(self, argv):
        if argv[:2] == ["--force", "enable"]:
            self.host.files[ufw.CONF] = "ENABLED=yes\n"
        elif argv[:2] == ["--force", "disable"]:
            self.host.files[ufw.CONF] = "ENABLED=no\n"
        elif argv[:2] == ["app", "update"]:
            self.update(argv[2])
        elif argv[0] == "allow":
            name = argv[argv.index("app") + 1]
            for version in self.versions(argv[2]):
                found = self.entries(version)
                new = self.made(version, name, argv[2], argv[3] == "app")
                self.store(version, found + [entry for entry in new if entry not in found])
        elif argv[:2] == ["--force", "delete"]:
            name = argv[argv.index("app") + 1]
            src = argv[argv.index("from") + 1]
            for version in self.versions(src):
                gone = [
                    entry
                    for entry in self.entries(version)
                    if entry.app == name and entry.src == src and entry.action == argv[2]
                ]
                self.store(version, [entry for entry in self.entries(version) if entry not in gone])
        elif argv != ["reload"]:
            raise AssertionError(argv)
        self.load()
        return 0, "", ""

    def update(self, name):
        for version in (4, 6):
            found = []
            for entry in self.entries(version):
                if entry.app != name:
                    found.append(entry)
                    continue
                src = "any" if entry.src in ("0.0.0.0/0", "::/0") else entry.src
                new = [item._replace(action=entry.action) for item in self.made(version, name, src, bool(entry.sapp))]
                found += [item for item in new if item not in found]
            self.store(version, found)

    def load(self):
        on = "ENABLED=yes" in self.host.files[ufw.CONF]
        self.kernel = {version: self.entries(version) for version in (4, 6)} if on else None

    def listing(self, command):
        if self.kernel is None:
            return 1, "", "No chain by that name"
        version = 4 if command == "iptables" else 6
        lines = []
        for entry in self.kernel[version]:
            words = ["-A", ufw.CHAINS[version][1]]
            if not ufw.is_any(entry.src):
                words += ["-s", str(ipaddress.ip_network(entry.src))]
            many = ":" in entry.dport + entry.sport
            words += ["-p", entry.proto, "-m", "multiport" if many else entry.proto]
            for option, value in (("dport", entry.dport), ("sport", entry.sport)):
                if value != "any":
                    words += [f"--{option}{'s' if many else ''}", value]
            if entry.app:
                words += [
                    "-m",
                    "comment",
                    "--comment",
                    "\"\\'{}_{}\\'\"".format("dapp" if entry.dapp else "sapp", entry.app),
                ]
            lines.append(" ".join([*words, "-j", "ACCEPT"]))
        return 0, "\n".join(lines), ""


class Bus:
    """A firewalld that keeps zones in memory and writes them to files, as the real one does."""

    def __init__(self, host):
        self.host = host
        self.on = False
        self.runtime = {}
        self.known = {}

    def running(self):
        return self.on

    def wait(self):
        assert self.on

    def forget(self):
        self.on = False

    def permanent(self):
        backend = firewalld.Firewalld(self.host, "x", bus=self)
        return {name: firewalld.parse_zone(self.host.read(path)) for name, path in backend._zone_files().items()}

    def reload(self):
        """Runtime becomes what is stored."""
        self.runtime = {
            name: zone._replace(interfaces=self.runtime.get(name, zone).interfaces)
            for name, zone in self.permanent().items()
        }
        self.known = {}
        for folder in (firewalld.LIB, firewalld.ETC):
            for name in self.host.names(folder + "/services"):
                if name.endswith(".xml"):
                    self.known[name[:-4]] = firewalld.parse_service(self.host.read(f"{folder}/services/{name}"))
        for zone in self.runtime.values():
            for name in zone.services:
                assert name in self.known or name == "dhcpv6-client", name

    def default_zone(self):
        return "public"

    def zones(self):
        return dict(self.runtime)

    def service_names(self):
        return sorted(self.known)

    def service(self, name):
        return self.known[name]

    def define(self, name, service):
        self.host.write(f"{firewalld.ETC}/services/{name}.xml", firewalld.service_xml(service))

    def undefine(self, name):
        for zone in self.permanent().values():
            assert name not in zone.services, "a zone still uses it"
        self.host.write(f"{firewalld.ETC}/services/{name}.xml", "")

    def load_defaults(self, zone):
        self.host.write(f"{firewalld.ETC}/zones/{zone}.xml", "")

    def change(self, action, layer, zone, kind, text):
        self.host.change()
        if layer == "permanent":
            self.store(zone, self.changed(self.permanent()[zone], action, kind, text))
        else:
            for name in firewalld.re.findall('service name="([^"]+)"', text) if kind == "rule" else [text]:
                assert name in self.known, "the runtime knows of no service " + name
            self.runtime[zone] = self.changed(self.runtime[zone], action, kind, text)

    @staticmethod
    def changed(zone, action, kind, text):
        field = "services" if kind == "service" else "rules"
        found = list(getattr(zone, field))
        assert (text in found) == (action == "remove"), (action, text, found)
        if action == "add":
            found.append(text)
        else:
            found.remove(text)
        return zone._replace(**{field: tuple(found)})

    def store(self, name, zone):
        lines = [f'<zone target="{zone.target}">' if zone.target != "default" else "<zone>", "<short>Public</short>"]
        lines += [f'<interface name="{item}"/>' for item in zone.interfaces]
        lines += [f'<source address="{item}"/>' for item in zone.sources]
        lines += [f'<service name="{item}"/>' for item in zone.services]
        lines += [f'<port port="{port}" protocol="{proto}"/>' for port, proto in zone.ports]
        for text in zone.rules:
            head, service, tail = firewalld.re.match(r'(rule.*?) service name="([^"]+)"(.*)', text).groups()
            attributes = " ".join(firewalld.re.findall(r'(?:family|priority)="[^"]+"', head))
            source = "".join(f"<source {item}/>" for item in firewalld.re.findall(r'source (address="[^"]+")', head))
            lines.append(f'<rule {attributes}>{source}<service name="{service}"/><{tail.strip()}/></rule>')
        if "/drop" not in name and zone.target == "default":
            lines.append("<forward/>")
        self.host.files[f"{firewalld.ETC}/zones/{name}.xml"] = "\n".join([*lines, "</zone>", ""])

    def offline(self, argv):
        assert not self.on
        assert len({item.split("=")[0] for item in argv[1:]}) == 1, "one kind of option a call"
        zone = argv[0].split("=", 1)[1]
        for item in argv[1:]:
            option, text = item.split("=", 1)
            action = {"add": "add", "remove": "remove"}[option[2:].split("-")[0]]
            kind = "rule" if option.endswith("rich-rule") else "service"
            assert option in firewalld.OFFLINE.values()
            self.store(zone, self.changed(self.permanent()[zone], action, kind, text))
        return 0, "", ""
