"""A double of the Jellyfin server, for the tests of this collection. It is NOT Jellyfin and plays no media.

It behaves as the real server does where the network matters: network.xml, ports, discovery, start-up phase,
base URL, forwarded headers, websockets, ranges. README.md beside this file says what it does and what not.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import logging
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import addresses
import dotnet_json
import kestrel
import media
import network_xml
from aiohttp import WSMsgType, web

LOG = logging.getLogger("double")
VERSION = "10.11.11"
SERVER = "jellynet-jellyfin-double"
UPLOAD_LIMIT = 30_000_000
DISCOVERY_PORT = 7359
QUESTION = "who is jellyfinserver?"
Handler = Callable[[web.Request, addresses.Seen], Awaitable[web.StreamResponse]]


@dataclass
class Home:
    """Where the server's files are. The switches of the tests lie in `double/` of the data folder."""

    config: Path
    data: Path
    log: Path

    @classmethod
    def of(cls, env: dict[str, str]) -> Home:
        data = Path(env.get("JELLYFIN_DATA_DIR", "/var/lib/jellyfin"))
        return cls(
            Path(env.get("JELLYFIN_CONFIG_DIR", "/etc/jellyfin")),
            data,
            Path(env.get("JELLYFIN_LOG_DIR", "/var/log/jellyfin")),
        )

    def switch(self, name: str) -> str | None:
        """The content of a switch file, None where there is none."""
        try:
            return (self.data / "double" / name).read_text().strip()
        except OSError:
            return None

    def fault(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in (self.switch("faults") or "").splitlines() if "=" in line)


@dataclass
class Server:
    home: Home
    settings: dict[str, Any]
    env: dict[str, str]
    id: str
    https: ssl.SSLContext | None = None
    film_size: int = 4 << 30
    known: addresses.Networks = field(init=False)
    near: addresses.Neighbourhood = field(init=False)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    again: bool = False

    def __post_init__(self) -> None:
        ipv6 = self.settings["EnableIPv6"]
        self.known = addresses.Networks.of(self.settings["KnownProxies"], names=True, ipv6=ipv6)
        ignored = self.settings["VirtualInterfaceNames"] if self.settings["IgnoreVirtualInterfaces"] else []
        published = self.env.get("JELLYFIN_PublishedServerUrl", "")
        self.near = addresses.Neighbourhood(
            self.settings, published, addresses.interfaces(ignored, ipv6), self.https is not None
        )

    # --- what it knows -------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.home.switch("server_name") or socket.gethostname()

    @property
    def wizard_done(self) -> bool:
        return (self.home.data / "double" / "wizard_done").exists()

    @property
    def base(self) -> str:
        return str(self.settings["BaseUrl"])

    def public_info(self, seen: addresses.Seen) -> dict[str, Any]:
        local = self.near.url(seen.client)
        if self.settings["EnablePublishedServerUriByRequest"]:
            local = f"{seen.scheme}://{seen.host}{self.base}"
        return {
            "LocalAddress": local,
            "ServerName": self.name,
            "Version": VERSION,
            "ProductName": "Jellyfin Server",
            "OperatingSystem": "",
            "Id": self.id,
            "StartupWizardCompleted": self.wizard_done,
        }

    def token(self, request: web.Request) -> bool:
        """True when the request carries the API key of the tests."""
        given = re.findall(r'Token="?([^",\s]+)', request.headers.get("Authorization", ""))
        given += [request.headers.get(name, "") for name in ("X-Emby-Token", "X-MediaBrowser-Token")]
        given += [value for key, value in request.query.items() if key.lower() in ("apikey", "api_key")]
        keys = (self.home.switch("api_keys") or "jellynet-lab-key").split()
        return any(key in keys for key in given)

    # --- the way of a request ------------------------------------------------------------------------------------------

    async def handle(self, request: Any) -> web.StreamResponse:
        faults = self.home.fault()
        if "delay" in faults:
            await asyncio.sleep(float(faults["delay"]))
        if "status" in faults:
            return self.answer("fault of the test double", status=int(faults["status"]))
        if "hang" in faults:
            await asyncio.sleep(3600)

        reading = self.read(request)
        if reading.status != 200:
            return self.answer("", status=reading.status)
        prefix = self.base
        front = [prefix.lower() + end for end in ("", "/", "/web")]
        if reading.path.lower() in front or not reading.path.lower().startswith(prefix.lower()):
            return self.answer("", status=302, headers={"Location": f"{prefix}/web/"})
        path = self.path(request)
        if path is None:
            return self.answer("", status=404)

        seen = self.judge(request)
        if not self.admitted(seen.client):
            return self.answer("", status=503)
        if (
            request.headers.get("Upgrade", "").lower() == "websocket"
            and "upgrade" in request.headers.get("Connection", "").lower()
        ):
            return await self.websocket(request)
        return await self.route(path)(request, seen)

    @staticmethod
    def read(request: web.Request) -> kestrel.Reading:
        """As the real server reads it: decoded once, dot segments resolved afterwards."""
        return kestrel.read(request.raw_path.encode("latin-1", "replace"), method=request.method.encode())

    def path(self, request: web.Request) -> str | None:
        """What its routing is given, in small letters and without a slash at the end."""
        inside = kestrel.below(self.read(request).path, self.base)
        return None if inside is None else "/" + "/".join(kestrel.segments(inside))

    def judge(self, request: web.Request) -> addresses.Seen:
        transport: Any = request.transport
        peer = ipaddress.ip_address((transport.get_extra_info("peername") or ("127.0.0.1",))[0].partition("%")[0])
        scheme = "https" if transport.get_extra_info("ssl_object") else "http"
        seen = addresses.judge(peer, scheme, request.headers.get("Host", ""), request.headers, self.known)
        if seen.unknown_proxy:
            LOG.warning("Unknown proxy: %s", seen.unknown_proxy)
        return seen

    def admitted(self, client: addresses.Address) -> bool:
        if self.near.internal(client):
            return True
        listed = client in addresses.Networks.of(self.settings["RemoteIPFilter"], ipv6=True)
        if self.settings["RemoteIPFilter"] and listed == self.settings["IsRemoteIPFilterBlacklist"]:
            return False
        return bool(self.settings["EnableRemoteAccess"])

    def route(self, path: str) -> Handler:
        exact: dict[str, Handler] = {
            "/health": self.health,
            "/system/info/public": self.info_public,
            "/system/info": self.info,
            "/system/ping": self.ping,
            "/system/endpoint": self.endpoint,
            "/system/restart": self.restart,
            "/system/shutdown": self.restart,
            "/system/configuration/network": self.configuration,
            "/users/authenticatebyname": self.log_in,
            "/metrics": self.metrics,
            "/socket": self.not_found,
            "/web": self.page,  # with a slash: without one it is led there
            "/web/index.html": self.page,
            "/double/echo": self.echo,
            "/double/slow": self.slow,
            "/double/upload": self.upload,
            "/clientlog/document": self.client_log,
        }
        if path in exact:
            return exact[path]
        for pattern, handler in (
            (r"/(videos|audio)/[^/]+/stream(\.\w+)?", self.film),
            (r"/startup/\w+", self.startup),
            (rf"/dlna/{uuid.UUID(self.id)}/description(\.xml)?", self.dlna_description),
            (r"/dlna/.+", self.dlna),
            (r"/items/[^/]+/images/.+", self.upload),
        ):
            if re.fullmatch(pattern, path):
                return handler
        return self.not_found

    @staticmethod
    def answer(
        content: Any, *, status: int = 200, kind: str = "text/plain", headers: dict[str, str] | None = None
    ) -> web.Response:
        text = content if isinstance(content, str) else dotnet_json.dumps(content)
        kind = kind if isinstance(content, str) else "application/json"
        return web.Response(
            text=text, status=status, content_type=kind, charset="utf-8", headers={"Server": SERVER} | (headers or {})
        )

    # --- the server's own addresses ------------------------------------------------------------------------------------

    async def health(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        word = self.home.fault().get("health", "Healthy")
        return self.answer(word, status=503 if word == "Unhealthy" else 200)

    async def info_public(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        return self.answer(self.public_info(seen))

    async def info(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        if self.wizard_done and not self.token(request):
            return self.answer("", status=401)
        return self.answer(
            self.public_info(seen)
            | {"HttpServerPortNumber": self.settings["InternalHttpPort"], "HasPendingRestart": False}
        )

    async def ping(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        return self.answer('"Jellyfin Server"', kind="application/json")

    async def endpoint(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        if not self.token(request):
            return self.answer("", status=401)
        local = seen.client.is_loopback or any(face.address == seen.client for face in self.near.interfaces)
        return self.answer({"IsLocal": local, "IsInNetwork": self.near.internal(seen.client)})

    async def restart(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        """No login from any client that counts as LAN: the real server's way, and why KnownProxies matters."""
        if request.method != "POST":
            return self.answer("", status=405)
        if not self.near.internal(seen.client) and not self.token(request):
            return self.answer("", status=401)
        self.again = (self.path(request) or "").endswith("restart")
        asyncio.get_running_loop().call_later(0.2, self.stop.set)
        return web.Response(status=204, headers={"Server": SERVER})

    async def configuration(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        if not self.token(request):
            return self.answer("", status=401)
        path = self.home.config / "network.xml"
        if request.method == "POST":
            given = {str(key): value for key, value in (await request.json()).items()}
            network_xml.write(path, {key: given.get(key, default) for key, default in network_xml.DEFAULTS.items()})
            return web.Response(status=204, headers={"Server": SERVER})
        return self.answer(network_xml.read(path))

    async def log_in(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        try:
            given = json.loads(await request.text())
        except ValueError:
            return self.answer("", status=400)
        if given.get("Pw") == "double":
            return self.answer(
                {
                    "AccessToken": "jellynet-lab-key",
                    "ServerId": self.id,
                    "User": {"Name": given.get("Username"), "Id": self.id},
                }
            )
        LOG.error('Authentication request for "%s" has been denied (IP: "%s").', given.get("Username"), seen.client)
        return self.answer("Error processing request.", status=401)

    async def startup(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        if self.wizard_done and not self.token(request):
            return self.answer("", status=401)
        if request.method == "POST":
            if (self.path(request) or "").endswith("/complete"):
                (self.home.data / "double" / "wizard_done").touch()
            return web.Response(status=204, headers={"Server": SERVER})
        return self.answer({"UICulture": "en-US", "MetadataCountryCode": "US", "PreferredMetadataLanguage": "en"})

    async def metrics(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        return self.answer("# HELP process_cpu_seconds_total made up by the test double\nprocess_cpu_seconds_total 1\n")

    async def dlna(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        if not self.near.internal(seen.client) and not self.token(request):
            return self.answer("", status=401)
        return self.answer("<root><device><manufacturer>Jellyfin</manufacturer></device></root>", kind="text/xml")

    async def dlna_description(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        """The DLNA plugin's, where the switch `dlna` is there: absolute URLs by how it was asked."""
        if self.home.switch("dlna") is None:
            return self.answer("", status=404)
        if not self.near.internal(seen.client) and not self.token(request):
            return self.answer("", status=401)
        device = uuid.UUID(self.id)
        root = f"{seen.scheme}://{seen.host}{self.base}/dlna/{device}"
        services = "".join(
            f"<service><serviceType>urn:schemas-upnp-org:service:{name}:1</serviceType>"
            f"<serviceId>urn:upnp-org:serviceId:{name}</serviceId><SCPDURL>{root}/{name}/{name}.xml</SCPDURL>"
            f"<controlURL>{root}/{name}/Control</controlURL><eventSubURL>{root}/{name}/Events</eventSubURL></service>"
            for name in ("ContentDirectory", "ConnectionManager")
        )
        return self.answer(
            '<?xml version="1.0" encoding="utf-8"?><root xmlns="urn:schemas-upnp-org:device-1-0">'
            "<specVersion><major>1</major><minor>0</minor></specVersion><device>"
            f"<deviceType>urn:schemas-upnp-org:device:MediaServer:1</deviceType><friendlyName>{escape(self.name)}</friendlyName>"
            "<manufacturer>Jellyfin</manufacturer><modelName>Jellyfin Server</modelName>"
            f"<UDN>uuid:{device}</UDN><iconList><icon><mimetype>image/png</mimetype><width>240</width><height>240</height>"
            f"<depth>24</depth><url>{root}/icons/logo240.png</url></icon></iconList>"
            f"<serviceList>{services}</serviceList></device></root>",
            kind="text/xml",
        )

    async def page(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        path = self.home.data / "double" / "index.html"
        if not path.exists():
            text = "<!doctype html><title>Jellyfin double</title><p>A double of the Jellyfin server, for tests. It is not Jellyfin."
            path.write_text(text)
        return await media.send_file(request, path, "text/html", {"Server": SERVER, "Cache-Control": "no-cache"})

    async def film(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return self.answer("", status=405)
        path = self.home.data / "double" / "film.mkv"
        media.make_film(path, self.film_size)
        return await media.send_file(request, path, "video/x-matroska", {"Server": SERVER})

    async def not_found(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        return self.answer("", status=404)

    # --- for the tests alone -------------------------------------------------------------------------------------------

    async def echo(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        """The request as it came in."""
        return self.answer(
            {
                "peer": str(seen.peer),
                "client": str(seen.client),
                "scheme": seen.scheme,
                "host": seen.host,
                "internal": self.near.internal(seen.client),
                "method": request.method,
                "raw_path": request.raw_path,
                "version": f"{request.version.major}.{request.version.minor}",
                "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers],
            }
        )

    async def slow(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        return await media.send_slowly(request, {"Server": SERVER})

    async def upload(self, request: web.Request, seen: addresses.Seen, limit: int = UPLOAD_LIMIT) -> web.StreamResponse:
        if request.method not in ("POST", "PUT"):
            return self.answer("", status=404)
        if (request.content_length or 0) > limit:
            return self.too_large()
        digest, size = hashlib.sha256(), 0
        async for chunk in request.content.iter_chunked(1 << 16):
            size += len(chunk)
            if size > limit:
                return self.too_large()
            digest.update(chunk)
        return self.answer({"received": size, "sha256": digest.hexdigest()})

    async def client_log(self, request: web.Request, seen: addresses.Seen) -> web.StreamResponse:
        return await self.upload(request, seen, 1_000_000)

    def too_large(self) -> web.Response:
        response = self.answer("", status=413)
        response.force_close()
        return response

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        """On any path. Without a token 403: that tells a probe that the upgrade came through."""
        if not self.token(request):
            LOG.error("Token is required (websocket at %s)", request.path)
            return self.answer("Error processing request.", status=403)
        pipe = web.WebSocketResponse()
        await pipe.prepare(request)
        await pipe.send_str(dotnet_json.dumps({"MessageType": "ForceKeepAlive", "Data": 60}))
        async for message in pipe:
            if message.type == WSMsgType.TEXT:
                await pipe.send_str(message.data)
            elif message.type == WSMsgType.BINARY:
                await pipe.send_bytes(message.data)
        return pipe


class Discovery(asyncio.DatagramProtocol):
    """Answers anybody who asks, as the real server does."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, sender: tuple[str, int]) -> None:
        if QUESTION not in data.decode("utf-8", "replace").lower():
            return
        reply = {
            "Address": self.server.near.url(ipaddress.ip_address(sender[0])),
            "Id": self.server.id,
            "Name": self.server.name,
            "EndpointAddress": None,
        }
        self.transport.sendto(dotnet_json.dumps(reply).encode(), sender)  # type: ignore[attr-defined]


async def starting_up(home: Home, settings: dict[str, Any], server_id: str) -> None:
    """The server of the start-up phase: holds as long as the switch `startup` says (seconds, or until it is gone)."""
    asked = home.switch("startup")
    if asked is None:
        return
    LOG.info("start-up phase (a switch of the tests)")

    async def handle(request: Any) -> web.StreamResponse:
        path = request.path.lower()
        if path == "/health":
            return Server.answer("Degraded")
        if path == "/system/info/public":
            return Server.answer(
                {
                    "localAddress": "",
                    "serverName": home.switch("server_name") or socket.gethostname(),
                    "version": VERSION,
                    "productName": "Jellyfin Server",
                    "operatingSystem": "",
                    "id": server_id,
                    "startupWizardCompleted": False,
                }
            )
        return Server.answer(
            "<p>The test double is starting up", status=503, kind="text/html", headers={"Retry-After": "005"}
        )

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", settings["InternalHttpPort"], reuse_address=True).start()
    begin = time.monotonic()
    with contextlib.suppress(ValueError):
        seconds = float(asked)
        while time.monotonic() - begin < seconds:
            await asyncio.sleep(0.1)
        asked = ""
    while asked and home.switch("startup") is not None:
        await asyncio.sleep(0.1)
    await runner.cleanup()


def certificate(settings: dict[str, Any]) -> ssl.SSLContext | None:
    """The PKCS#12 file, if HTTPS is on and the file is good; else no HTTPS, and a line in the log."""
    if not settings["EnableHttps"] or not settings["CertificatePath"]:
        return None
    with tempfile.NamedTemporaryFile(suffix=".pem") as pem:
        argv = [
            "openssl",
            "pkcs12",
            "-nodes",
            "-in",
            settings["CertificatePath"],
            "-out",
            pem.name,
            "-passin",
            "env:DOUBLE_PASSWORD",
        ]
        done = subprocess.run(
            argv, capture_output=True, text=True, env=os.environ | {"DOUBLE_PASSWORD": settings["CertificatePassword"]}
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            if done.returncode:
                raise ssl.SSLError(done.stderr.strip())
            context.load_cert_chain(pem.name)
        except ssl.SSLError as error:
            LOG.error("Error loading cert from %s: %s", settings["CertificatePath"], error)
            return None
    return context


def identity(home: Home) -> str:
    path = home.data / "data" / "device.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(uuid.uuid4().hex)
    return path.read_text().strip()


async def serve(env: dict[str, str]) -> bool:
    """Runs until told to stop; True means: start again."""
    home = Home.of(env)
    (home.data / "double").mkdir(parents=True, exist_ok=True)
    settings = network_xml.read(home.config / "network.xml")
    server_id = identity(home)
    await starting_up(home, settings, server_id)

    context = certificate(settings)
    server = Server(home, settings, env, server_id, context, int(env.get("DOUBLE_FILM_SIZE", 4 << 30)))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop.set)

    runner = web.ServerRunner(web.Server(server.handle, access_log=None, lingering_time=2), shutdown_timeout=2)
    await runner.setup()
    hosts = settings["LocalNetworkAddresses"] or ["::" if settings["EnableIPv6"] else "0.0.0.0"]
    for host in hosts:
        await web.TCPSite(runner, host, settings["InternalHttpPort"], reuse_address=True).start()
        LOG.info("listening on %s port %s", host, settings["InternalHttpPort"])
        if context:
            await web.TCPSite(
                runner, host, settings["InternalHttpsPort"], reuse_address=True, ssl_context=context
            ).start()

    transport: asyncio.BaseTransport | None = None
    if settings["AutoDiscovery"]:
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: Discovery(server), local_addr=("0.0.0.0", DISCOVERY_PORT)
            )
        except OSError as error:
            LOG.error("Unable to bind to 0.0.0.0:%s: %s", DISCOVERY_PORT, error)

    await server.stop.wait()
    if transport:
        transport.close()
    await runner.cleanup()
    return server.again


def main() -> int:
    home = Home.of(dict(os.environ))
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if home.log.is_dir() and os.access(home.log, os.W_OK):
        handlers.append(logging.FileHandler(home.log / time.strftime("log_%Y%m%d.log")))
    logging.basicConfig(
        format="[%(asctime)s] [%(levelname).3s] %(name)s: %(message)s", level=logging.INFO, handlers=handlers
    )
    LOG.info("this is a double of the Jellyfin server for tests, not Jellyfin")
    try:
        while asyncio.run(serve(dict(os.environ))):
            LOG.info("restarting")
    except OSError as error:
        LOG.critical("Error while starting server: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
