"""One household behind one address: household.py ADDRESS NAME CA SECONDS

Fifteen devices with six connections each, the web client with a hundred images over one connection of HTTP/2, four streams of which one is paused,
two downloads, and two programs that poll. Prints what each of them got, as counts of good and bad.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter

DEVICES, CONNECTIONS, IMAGES, STREAMS, DOWNLOADS, POLLERS = 15, 6, 100, 4, 2, 2
WHOLE = 96 * 1024 * 1024


class Household:
    def __init__(self, address: str, name: str, ca: str, seconds: str) -> None:
        self.address, self.name, self.ca = address, name, ca
        self.until = time.monotonic() + float(seconds)
        self.context = ssl.create_default_context(cafile=ca)
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.words: list[str] = []

    def note(self, who: str, good: bool, words: str = "") -> None:
        with self.lock:
            self.counts[f"{who} {'good' if good else 'bad'}"] += 1
            if not good:
                self.words = [*self.words, f"{who}: {words}"][:10]

    def connect(self) -> http.client.HTTPConnection:
        made = http.client.HTTPConnection(self.name)
        made.sock = self.context.wrap_socket(
            socket.create_connection((self.address, 443), 20), server_hostname=self.name
        )
        return made

    def asked(self, who: str, connection: http.client.HTTPConnection, path: str) -> None:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        self.note(who, answer.status == 200, str(answer.status))

    def device(self) -> None:
        try:
            connection = self.connect()
            while time.monotonic() < self.until:
                self.asked("device", connection, "/System/Info/Public")
                time.sleep(1)
        except (OSError, http.client.HTTPException) as problem:
            self.note("device", False, repr(problem))

    def poller(self) -> None:
        while time.monotonic() < self.until:
            try:
                self.asked("poller", self.connect(), "/Sessions?activeWithinSeconds=960")
            except (OSError, http.client.HTTPException) as problem:
                self.note("poller", False, repr(problem))
            time.sleep(0.5)

    def stream(self, pause: float, rate: float) -> None:
        """The whole film; after the first of it the reader takes nothing for ``pause`` seconds."""
        try:
            connection = self.connect()
            connection.request("GET", "/media")
            answer = connection.getresponse()
            got = len(answer.read(65536))
            time.sleep(pause)
            while part := answer.read(1024 * 1024):
                got += len(part)
                time.sleep(1 / rate)
            self.note("stream" if not pause else "paused stream", got == WHOLE, f"{got} of {WHOLE} bytes")
        except (OSError, http.client.HTTPException) as problem:
            self.note("stream", False, repr(problem))

    def images(self) -> None:
        urls = [f"https://{self.name}/Items/{index}/Images/Primary?tag=x" for index in range(IMAGES)]
        argv = [
            "curl",
            "-s",
            "--http2",
            "--parallel",
            "--parallel-immediate",
            "--parallel-max",
            str(IMAGES),
            "--cacert",
            self.ca,
        ]
        outputs = [word for url in urls for word in ("-o", "/dev/null", url)]
        done = subprocess.run([*argv, "-w", "%{http_code}\\n", *outputs], capture_output=True, text=True)
        for status in done.stdout.split():
            self.note("image", status == "200", status)
        self.note("page", done.stdout.split() == ["200"] * IMAGES, f"curl {done.returncode} {done.stderr[:200]}")

    def live(self) -> None:
        seconds = self.until - time.monotonic()
        jobs = [threading.Thread(target=self.device) for _one in range(DEVICES * CONNECTIONS)]
        jobs += [threading.Thread(target=self.poller) for _one in range(POLLERS)]
        jobs += [
            threading.Thread(target=self.stream, args=(seconds if not index else 0, 100)) for index in range(STREAMS)
        ]
        jobs += [threading.Thread(target=self.stream, args=(0, 10000)) for _one in range(DOWNLOADS)]
        jobs.append(threading.Thread(target=self.images))
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()


if __name__ == "__main__":
    household = Household(*sys.argv[1:])
    household.live()
    print(json.dumps({"counts": household.counts, "words": household.words}))
