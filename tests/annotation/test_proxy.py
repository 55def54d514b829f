"""TLS and a token by a reverse proxy: the nginx snippet of docs/how-to/annotate.md, run as it stands there."""

import re
import shutil
import subprocess
import time

import pytest
import requests
import urllib3

from tests.annotation.conftest import ROOT, free_port

NAME = "labels.hospital.example"


@pytest.fixture
def proxy(server, tmp_path):
    """Port of nginx in front of the server."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not here: apt-get install --no-install-recommends nginx-light openssl")
    key, certificate, port = tmp_path / "labels.key", tmp_path / "labels.crt", free_port()
    request = f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={NAME} -addext subjectAltName=DNS:{NAME}"
    command = ["openssl", *request.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    page = (ROOT / "docs" / "how-to" / "annotate.md").read_text()
    (snippet,) = re.findall(r"```nginx\n(.*?)```", page, flags=re.DOTALL)
    for there, here in {
        "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        "/etc/ssl/labels.crt": str(certificate),
        "/etc/ssl/labels.key": str(key),
        "http://127.0.0.1:8000": server.address,
    }.items():
        assert there in snippet
        snippet = snippet.replace(there, here)
    folders = "".join(
        f"{kind}_temp_path {tmp_path / kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = (
        f"pid {tmp_path / 'pid'};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{folders}{snippet}}}\n"
    )
    (tmp_path / "nginx.conf").write_text(config)
    with (tmp_path / "nginx.log").open("w") as log:
        command = [program, "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf"), "-g", "daemon off;"]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not is_listening(port):
            assert process.poll() is None, (tmp_path / "nginx.log").read_text()
            time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


def is_listening(port):
    try:
        return get(port).status_code > 0
    except requests.ConnectionError:
        return False


def get(port, **headers):
    urllib3.disable_warnings()  # the certificate is the test's own
    return requests.get(f"https://127.0.0.1:{port}/info/", headers={"Host": NAME, **headers}, verify=False, timeout=60)


def test_only_who_has_the_token_gets_in_and_the_proxys_own_pages_may_ask(proxy):
    token = {"Authorization": "Bearer A_LONG_RANDOM_TOKEN"}
    assert get(proxy).status_code == 401
    assert get(proxy, Authorization="Bearer another").status_code == 401
    assert get(proxy, **token).json()["name"] == "VFSS annotation"
    assert get(proxy, Origin=f"https://{NAME}", **token).status_code == 200
    assert get(proxy, Origin="https://elsewhere.example", **token).status_code == 403
