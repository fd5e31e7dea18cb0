"""The Jellyfin double behaves as the real server is known to."""

from __future__ import annotations

import asyncio
import ipaddress
import sys
import uuid
from pathlib import Path

import pytest
from aiohttp import ClientSession, WSServerHandshakeError, web
from multidict import CIMultiDict
from yarl import URL

DOUBLE = Path(__file__).resolve().parents[1] / "lab" / "double"
sys.path.insert(0, str(DOUBLE))

import addresses  # noqa: E402
import dotnet_json  # noqa: E402
import jellyfin_double  # noqa: E402
import media  # noqa: E402
import network_xml  # noqa: E402

KEY = {"Authorization": 'MediaBrowser Token="jellynet-lab-key"'}


def xml(body: str) -> bytes:
    return f'<NetworkConfiguration xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">{body}</NetworkConfiguration>'.encode()


def test_network_xml_takes_what_it_knows_and_ignores_the_rest(tmp_path):
    path = tmp_path / "network.xml"
    path.write_bytes(
        xml(
            "<New>x</New><AutoDiscovery> false </AutoDiscovery><BaseUrl>jellyfin/</BaseUrl>"
            "<KnownProxies><string>127.0.0.1</string></KnownProxies>"
        )
    )
    settings = network_xml.read(path)
    assert (settings["AutoDiscovery"], settings["BaseUrl"], settings["KnownProxies"]) == (
        False,
        "/jellyfin",
        ["127.0.0.1"],
    )
    assert settings["InternalHttpPort"] == 8096


@pytest.mark.parametrize(
    "fault", ["<AutoDiscovery>False</AutoDiscovery>", "<InternalHttpPort>80a</InternalHttpPort>", "<a>"]
)
def test_one_bad_value_and_the_whole_file_is_ignored(tmp_path, fault):
    path = tmp_path / "network.xml"
    path.write_bytes(xml(f"<BaseUrl>/jellyfin</BaseUrl>{fault}"))
    assert network_xml.read(path) == network_xml.DEFAULTS


def test_equal_ports_fall_back(tmp_path):
    path = tmp_path / "network.xml"
    path.write_bytes(xml("<InternalHttpPort>8920</InternalHttpPort>"))
    assert network_xml.read(path)["InternalHttpPort"] == 8096


def test_what_is_saved_reads_back_the_same(tmp_path):
    path = tmp_path / "network.xml"
    settings = network_xml.DEFAULTS | {"KnownProxies": ["10.0.0.1"], "AutoDiscovery": False, "BaseUrl": "/a"}
    network_xml.write(path, settings)
    assert network_xml.read(path) == settings


@pytest.mark.parametrize(
    ("known", "forwarded", "client"),
    [
        ([], "1.2.3.4", "127.0.0.1"),  # no known proxy: the header counts for nothing
        (["10.0.0.1"], "1.2.3.4", "127.0.0.1"),  # this peer is not known
        (["127.0.0.1"], "1.2.3.4", "1.2.3.4"),
        (["127.0.0.1"], "6.6.6.6, 1.2.3.4", "1.2.3.4"),  # right to left, and no further than the first unknown
        (["127.0.0.1", "1.2.3.0/24"], "6.6.6.6, 1.2.3.4", "6.6.6.6"),
        (["127.0.0.1"], "rubbish", "127.0.0.1"),
        (["127.0.0.1"], "[2001:db8::1]:443", "2001:db8::1"),
        (["127.0.0.1"], "::ffff:1.2.3.4", "1.2.3.4"),
    ],
)
def test_forwarded_headers_count_only_from_known_proxies(known, forwarded, client):
    headers = CIMultiDict({"X-Forwarded-For": forwarded})
    seen = addresses.judge(ipaddress.ip_address("127.0.0.1"), "http", "h", headers, addresses.Networks.of(known))
    assert str(seen.client) == client


@pytest.mark.parametrize(
    ("entries", "client", "url"),
    [
        ([], "10.1.0.7", "http://10.1.0.2:8096"),
        ([], "10.9.0.7", "http://10.1.0.2:8096"),
        (["all=https://media.example.org"], "8.8.8.8", "https://media.example.org"),
        (["10.1.0.0/24=http://lan.example.org:1"], "10.1.0.7", "http://lan.example.org:1"),
        (
            ["10.9.0.0/24=http://no.example.org"],
            "10.9.0.7",
            "http://10.1.0.2:8096",
        ),  # the server has no address in there
        (["external=https://out.example.org"], "8.8.8.8", "https://out.example.org"),
        (
            ["external=https://out.example.org", "a=b=c"],
            "8.8.8.8",
            "http://10.1.0.2:8096",
        ),  # one bad entry spoils the list
    ],
)
def test_the_address_that_a_client_is_told(entries, client, url):
    faces = [addresses.Interface("eth0", ipaddress.ip_address("10.1.0.2"), ipaddress.ip_network("10.1.0.0/24"))]
    near = addresses.Neighbourhood(network_xml.DEFAULTS | {"PublishedServerUriBySubnet": entries}, "", faces)
    assert near.url(ipaddress.ip_address(client)) == url


def test_json_is_escaped_as_dotnet_does():
    assert dotnet_json.dumps({"Name": "Tom's Fürst+", "EndpointAddress": None}) == (
        '{"Name":"Tom\\u0027s F\\u00FCrst\\u002B","EndpointAddress":null}'
    )


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("bytes=0-9", (0, 9)),
        ("bytes=90-", (90, 99)),
        ("bytes=-10", (90, 99)),
        ("bytes=5-500", (5, 99)),
        ("bytes=100-", "unsatisfiable"),
        ("bytes=0-1,5-6", None),
    ],
)
def test_ranges(text, bounds):
    assert media.wanted(text, 100) == bounds


@pytest.fixture
def talk(tmp_path, monkeypatch):
    """Runs a conversation with a double on a free loopback port."""
    monkeypatch.setattr(addresses, "interfaces", lambda ignored, ipv6: [])

    def run(conversation, **changed):
        async def main():
            home = jellyfin_double.Home(tmp_path, tmp_path, tmp_path)
            (tmp_path / "double").mkdir(exist_ok=True)
            server = jellyfin_double.Server(home, network_xml.DEFAULTS | changed, {}, "a" * 32, film_size=5 << 20)
            runner = web.ServerRunner(web.Server(server.handle, lingering_time=0.1))
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = site._server.sockets[0].getsockname()[1]
            try:
                async with ClientSession(f"http://127.0.0.1:{port}") as session:
                    return await conversation(session)
            finally:
                await runner.cleanup()

        return asyncio.run(main())

    return run


def test_public_info_has_its_keys_in_order_and_says_the_wizard_state(talk, tmp_path):
    async def conversation(session):
        async with session.get("/system/info/PUBLIC") as answer:
            before = await answer.json()
            assert answer.headers["Server"] == "jellynet-jellyfin-double"
        async with session.post("/Startup/Complete") as answer:
            assert answer.status == 204
        async with session.get("/Startup/Configuration") as answer:
            assert answer.status == 401
        async with session.get("/System/Info/Public") as answer:
            return before, await answer.json()

    before, after = talk(conversation)
    assert list(before) == [
        "LocalAddress", "ServerName", "Version", "ProductName", "OperatingSystem", "Id", "StartupWizardCompleted",
    ]  # fmt: skip
    assert (before["StartupWizardCompleted"], after["StartupWizardCompleted"]) == (False, True)


def test_the_dlna_plugin_describes_itself_where_it_is_on(talk, tmp_path):
    path = f"/jellyfin/dlna/{uuid.UUID('a' * 32)}/description.xml"

    async def conversation(session):
        async with session.get(path) as answer:
            assert answer.status == 404
        (tmp_path / "double" / "dlna").touch()
        async with session.get(path, headers={"Host": "edge:8096"}) as answer:
            text = await answer.text()
        assert f"<UDN>uuid:{uuid.UUID('a' * 32)}</UDN>" in text and "MediaServer:1" in text
        assert "<url>http://edge:8096/jellyfin/dlna/" in text

    talk(conversation, BaseUrl="/jellyfin")


def test_base_url_turns_everything_else_away(talk):
    async def conversation(session):
        found = []
        for path in ("/", "/jellyfin", "/jellyfin/web", "/health", "/jellyfin/health", "/jellyfinx"):
            async with session.get(path, allow_redirects=False) as answer:
                found.append((answer.status, answer.headers.get("Location")))
        return found

    moved = (302, "/jellyfin/web/")
    assert talk(conversation, BaseUrl="/jellyfin") == [moved, moved, moved, moved, (200, None), (404, None)]


TARGETS = {
    "/metrics/": 200, "/a%2fb/../metrics": 200, "/%6detrics": 200, "/emby/metrics": 200, "/x/../metrics": 200, "/x#/../metrics": 200,
    "//metrics": 404, "/metrics%2f": 404, "/metrics%00": 400, "http://a/metrics": 200, "/x/%2e%2e/METRICS?y": 200,
}  # fmt: skip


def test_a_target_is_read_as_the_real_server_reads_it(talk):
    async def conversation(session):
        found = {}
        for target in TARGETS:
            reader, writer = await asyncio.open_connection(session._base_url.host, session._base_url.port)
            writer.write(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            found[target] = int((await reader.readline()).split()[1])
            writer.close()
        return found

    assert talk(conversation) == TARGETS


def test_websockets(talk):
    async def conversation(session):
        async with session.get("/socket") as answer:
            assert answer.status == 404
        with pytest.raises(WSServerHandshakeError) as refused:
            await session.ws_connect("/socket")
        assert refused.value.status == 403
        async with session.ws_connect("/any/path", headers=KEY) as pipe:
            assert "ForceKeepAlive" in await pipe.receive_str()
            await pipe.send_str("hello")
            return await pipe.receive_str()

    assert talk(conversation) == "hello"


def test_the_film_has_ranges_and_knows_where_it_is(talk):
    async def conversation(session):
        async with session.get("/Videos/1/stream.mkv", headers={"Range": "bytes=3145728-3145743"}) as answer:
            assert (answer.status, await answer.read()) == (206, b"%016x" % (3 << 20))
            etag = answer.headers["ETag"]
        for given, status in ((etag, 206), ('"other"', 200)):
            async with session.get("/Videos/1/stream", headers={"Range": "bytes=0-1", "If-Range": given}) as answer:
                assert answer.status == status

    talk(conversation)


def test_uploads_end_at_thirty_million_bytes(talk):
    async def conversation(session):
        found = []
        for size in (30_000_000, 30_000_001):
            async with session.post("/double/upload", data=b"x" * size) as answer:
                found.append(answer.status)
        return found

    assert talk(conversation) == [200, 413]


def test_restart_needs_no_login_from_the_lan_but_from_elsewhere(talk):
    async def conversation(session):
        found = []
        for address in ("192.168.1.9", "8.8.8.8"):
            async with session.post("/System/Restart", headers={"X-Forwarded-For": address}) as answer:
                found.append(answer.status)
        return found

    assert talk(conversation, KnownProxies=["127.0.0.1"]) == [204, 401]


def test_the_echo_says_who_came_and_with_what(talk):
    async def conversation(session):
        async with session.get(
            URL("/double/echo?a=%2F", encoded=True), headers={"X-Forwarded-For": "8.8.8.8"}
        ) as answer:
            return await answer.json()

    said = talk(conversation, KnownProxies=["127.0.0.1"])
    assert (said["peer"], said["client"], said["internal"], said["raw_path"]) == (
        "127.0.0.1",
        "8.8.8.8",
        False,
        "/double/echo?a=%2F",
    )
    assert ["X-Forwarded-For", "8.8.8.8"] in said["headers"]
