"""Below a path, with a CA of the edge's own, and with the server on the edge itself."""

from __future__ import annotations

import json
import re

from waiting import until

SITE = "https://media.example.org"
SSDP = """
import socket
pipe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
pipe.settimeout(4)
pipe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("{address}"))
lines = ["M-SEARCH * HTTP/1.1", "HOST: 239.255.255.250:1900", 'MAN: "ssdp:discover"', "MX: 1", "ST: upnp:rootdevice", "", ""]
pipe.sendto("\\r\\n".join(lines).encode(), ("239.255.255.250", 1900))
print(pipe.recv(2048).decode())
"""


def open_tcp(host, address: str) -> set[int]:
    done = host.run(f"nmap -Pn -n -p- -T5 --max-retries 1 --min-rate 4000 -oG - {address}")
    assert done.rc == 0, done.stderr
    return {int(port) for port in re.findall(r"(\d+)/open/tcp", done.stdout)}


def test_from_the_internet_only_80_and_443_answer(lab, outside):
    # 22 was let in before by the owner of the host.
    assert open_tcp(outside, lab.address("edge", "wan")) == {22, 80, 443}


def test_the_server_keeps_the_ports_that_it_is_configured_to_take(edge):
    held = edge.check_output("ss -Hltunp")
    for port in ("tcp.*:8096", "udp.*:7359"):
        (line,) = [line for line in held.splitlines() if re.search(port + r"\s", line)]
        assert "jellyfin-ports" not in line and "python3" in line, line


def test_the_prefix_arrives_unstripped(outside, curl):
    told = curl(outside, f"{SITE}/jellyfin/double/echo?a=b", insecure=True).json()
    assert told["raw_path"] == "/jellyfin/double/echo?a=b"


def test_the_bare_prefix_leads_to_its_slash_and_the_rest_of_the_name_is_empty(outside, curl):
    answer = curl(outside, f"{SITE}/jellyfin?x=1", insecure=True)
    assert answer.status in (301, 308) and answer.header("location").endswith("/jellyfin/?x=1")
    assert curl(outside, f"{SITE}/", insecure=True).status == 404
    assert curl(outside, f"{SITE}/jellyfinx/System/Info/Public", insecure=True).status == 404


def test_a_websocket_is_upgraded_below_the_path(outside, curl):
    headers = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    arguments = ["--http1.1", *[word for header in headers for word in ("-H", header)]]
    assert curl(outside, f"{SITE}/jellyfin/socket", *arguments, insecure=True).status == 403


def test_the_edge_s_own_ca_is_the_only_trust(edge, client, curl):
    assert curl(client, f"{SITE}/jellyfin/").returncode == 60
    root = edge.check_output("cat /etc/jellynet/certificates/media.example.org/ca.pem")
    client.run(f"cat > /tmp/ca.pem <<'END'\n{root}\nEND")
    answer = curl(client, f"{SITE}/jellyfin/System/Info/Public", "--cacert", "/tmp/ca.pem")
    assert answer.status == 200
    assert answer.header("strict-transport-security") is None


def test_the_server_knows_its_path_and_its_proxy(edge, lab, outside, curl):
    xml = edge.file("/etc/jellyfin/network.xml").content_string
    assert "<BaseUrl>/jellyfin</BaseUrl>" in xml and "<string>127.0.0.1</string>" in xml
    told = curl(outside, f"{SITE}/jellyfin/double/echo", "-H", "X-Forwarded-For: 127.0.0.1", insecure=True).json()
    assert told["client"] == lab.address("outside", "wan")


def test_ssdp_leads_to_a_description_that_a_lan_client_can_read(lab, client, curl):
    ask = SSDP.format(address=lab.address("client", "lan"))
    said = until(lambda: client.run(f"python3 - <<'END'\n{ask}\nEND").stdout, bool)
    location = re.search(r"(?mi)^location:\s*(\S+)", said)
    assert location, said
    answer = curl(client, location.group(1))
    assert answer.status == 200 and "<presentationURL>" in answer.body, answer


def test_ufw_says_what_is_open_to_whom(edge, lab):
    rules = edge.check_output("ufw show added")
    profiles = edge.check_output("cat /etc/ufw/applications.d/jellynet*")
    lan = lab.topology.networks["lan"].subnet
    assert re.search(r"ufw allow (?:in )?(?:from any to any app )?'?jellynet-jellyfin'?$", rules, re.M), rules
    assert re.search(rf"from {lan} to any app", rules), rules
    assert re.search(r"\[jellynet-jellyfin\][^\[]*ports=80/tcp\|443/tcp(\|443/udp)?$", profiles, re.M), profiles
    assert not re.search(r"\[jellynet-jellyfin\][^\[]*8096", profiles), profiles


def test_the_lan_reaches_what_is_for_it(lab, client):
    assert open_tcp(client, lab.address("edge", "lan")) == {22, 80, 443, 1900, 8096}


def test_a_discovery_reply_names_the_address_that_works(lab, client, curl):
    ask = (
        "import socket\n"
        "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(2)\n"
        "s.setsockopt(socket.SOL_SOCKET,socket.SO_BROADCAST,1)\n"
        "s.sendto(b'who is JellyfinServer?',('255.255.255.255',7359))\n"
        "print(s.recv(1024).decode())"
    )
    told = json.loads(until(lambda: client.run(f"python3 - <<'END'\n{ask}\nEND").stdout, bool))
    assert told["Address"] == f"http://{lab.address('edge', 'lan')}:8096/jellyfin"
    assert curl(client, told["Address"] + "/System/Info/Public").status == 200
