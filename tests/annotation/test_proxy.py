"""TLS and a token by a reverse proxy: the nginx snippet of docs/how-to/annotate.md, run as it stands there."""

import re

import pytest
import requests
import urllib3

from tests.annotation.conftest import ROOT
from tests.servers import running_nginx

NAME = "labels.hospital.example"


@pytest.fixture
def proxy(server, tmp_path):
    """Port of nginx in front of the server."""
    page = (ROOT / "docs" / "how-to" / "annotate.md").read_text()
    (snippet,) = re.findall(r"```nginx\n(.*?)```", page, flags=re.DOTALL)

    def as_on_the_page(port, key, certificate):
        text = snippet
        for there, here in {
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "/etc/ssl/labels.crt": str(certificate),
            "/etc/ssl/labels.key": str(key),
            "http://127.0.0.1:8000": server.address,
        }.items():
            assert there in text
            text = text.replace(there, here)
        return text

    with running_nginx(tmp_path, NAME, as_on_the_page) as (port, _):
        yield port


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
