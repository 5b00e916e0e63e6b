#!/usr/bin/env python3
"""Throws generated requests at the real server, as its own description of the API says.

Nothing may answer 5xx, nor with a status, a content type or a body that the description does not know.
The server is the debug binary on a free port, with its data in a temporary directory; it is ended in any case.

    .ci/schemathesis.py                    as ./test runs it
    EXAMPLES=200 SEED=7 .ci/schemathesis.py   longer, with other requests
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / ".ci" / "schemathesis.txt"
HOME = ROOT / "target" / "schemathesis"
BINARY = ROOT / "target" / "debug" / "timingle"
# Requests for each operation in the random phase, and what makes a run the same again.
EXAMPLES = os.environ.get("EXAMPLES", "40")
SEED = os.environ.get("SEED", "20301")
# Seconds; twice of what a run takes on two busy cores.
PATIENCE = 600
NO_5XX = "not_a_server_error"
CONFORMS = "status_code_conformance,content_type_conformance,response_schema_conformance"
# These end the sign-in that all other requests need, so they have one of their own.
LAST = ["logout", "deleteAccount"]
# A server without Google says so with 503.
NOT_HERE = ["googleSignIn", "googleCalendarSignIn"]


def fail(text):
    sys.exit(f"error: {text}")


def install():
    """Installs the pinned versions into an environment of their own; once, until they change."""
    done = HOME / "installed.txt"
    wanted = PINNED.read_text()
    if not done.exists() or done.read_text() != wanted:
        venv.create(HOME, with_pip=True, clear=True)
        pip = [HOME / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", PINNED]
        if subprocess.run(pip).returncode != 0:
            fail(f"schemathesis cannot be installed from PyPI into {HOME}: is there a network?")
        done.write_text(wanted)
    return HOME / "bin" / "schemathesis"


class Server:
    """The binary, from its first line until it is ended."""

    def __init__(self, data):
        many = "1000000"
        setting = {
            "SERVER__PORT": "0",
            "METRICS__PORT": "0",
            "AUTH__PROOF": "none",
            "DATA__DIR": data,
            "LOG__FILTER": "error",
            "LIMITS__SIGN_INS_PER_ADDRESS": many,
            "LIMITS__REQUESTS_PER_USER": many,
            "LIMITS__INVITE_LOOKUPS_PER_ADDRESS": many,
        }
        env = {name: value for name, value in os.environ.items() if not name.startswith("TIMINGLE")}
        env.update({f"TIMINGLE__{name}": value for name, value in setting.items()})
        self.process = subprocess.Popen([BINARY, "serve"], env=env, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        # A server that says nothing is ended, which ends the wait for its words.
        limit = threading.Timer(60, self.process.kill)
        limit.start()
        try:
            for line in self.process.stdout:
                if found := re.search(r"address +(http://\S+)", line):
                    threading.Thread(target=self.process.stdout.read, daemon=True).start()
                    return found[1]
        finally:
            limit.cancel()
        fail("the server did not start")

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def post(address, path, body, token=None):
    request = urllib.request.Request(f"{address}/api/v1{path}", json.dumps(body).encode())
    request.add_header("content-type", "application/json")
    if token:
        request.add_header("authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def sign_in(address, phone):
    return post(address, "/auth/register", {"phone": phone, "name": "Schema"})["access_token"]


def run(schemathesis, address, token, option, names, checks=f"{NO_5XX},{CONFORMS}"):
    which = [word for name in names for word in (option, name)]
    command = [
        schemathesis, "run", f"{address}/api/v1/openapi.json", "--url", address,
        "--header", f"Authorization: Bearer {token}",
        "--checks", checks, "--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--seed", SEED,
        "--generation-database", "none", "--request-timeout", "20", "--continue-on-failure", "--workers", "1",
        "--suppress-health-check", "all", "--warnings", "off", *which,
    ]  # fmt: skip
    return subprocess.run(command, cwd=HOME, timeout=PATIENCE).returncode == 0


def main():
    if not BINARY.exists():
        fail(f"{BINARY} is missing: run 'cargo build'")
    schemathesis = install()
    with tempfile.TemporaryDirectory() as data, Server(data) as address:
        token = sign_in(address, "01050000001")
        # The examples of the description speak of user 1 and event 1.
        when = {"start_time": "2090-05-01T10:00:00Z", "end_time": "2090-05-01T11:00:00Z"}
        post(address, "/events", {"title": "Lesson", **when}, token)
        held = run(schemathesis, address, token, "--exclude-operation-id", LAST + NOT_HERE)
        held &= run(schemathesis, address, token, "--include-operation-id", NOT_HERE, CONFORMS)
        for number, name in enumerate(LAST):
            token = sign_in(address, f"0105000001{number}")
            held &= run(schemathesis, address, token, "--include-operation-id", [name])
    if not held:
        fail("the API does not keep to its description")


main()
