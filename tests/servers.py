"""Real servers for tests, on this machine: Orthanc, with passwords, and nginx with TLS in front of a service."""

import json
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

NGINX_FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@contextmanager
def running_orthanc(folder, users=None):
    """Orthanc with its DICOMweb plugin, its files in a folder; gives its address and its process.

    Users are passwords by name; without any everybody gets in.
    """
    program = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin")
    if program is None or not PLUGIN.is_file():
        pytest.skip("Orthanc is not here: apt-get install --no-install-recommends orthanc orthanc-dicomweb")
    port = free_port()
    config = {
        "Name": "test",
        "HttpPort": port,
        "HttpBindAddresses": ["127.0.0.1"],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": bool(users),
        "RegisteredUsers": users or {},
        "DicomServerEnabled": False,
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (folder / "orthanc.log").open("w") as log:
        process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(f"{address}/system", process, folder / "orthanc.log", next(iter((users or {}).items()), None))
        yield address, process
    finally:
        process.terminate()
        process.wait(timeout=60)


def wait_for(address, process, log, auth=None):
    """Wait until something answers there; the program's log if it ends instead."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(address, timeout=5, auth=auth).status_code == 200:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise RuntimeError(f"the server did not start: {log.read_text()[-2000:]}")


@contextmanager
def tls_in_front_of(service, folder, name="localhost"):
    """nginx in front of a service; gives its address and the certificate."""

    def server(port, key, certificate):
        return (
            f"server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {certificate};\nssl_certificate_key {key};\n"
            f"client_max_body_size 1g;\nlocation / {{ proxy_pass {service}; }}\n}}\n"
        )

    with running_nginx(folder, name, server) as (port, certificate):
        yield f"https://{name}:{port}", certificate


@contextmanager
def running_nginx(folder, name, server):
    """nginx with a certificate of its own for a host's name; gives its port and the certificate.

    ``server`` makes the text of what it serves from a port, a key and a certificate.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None or shutil.which("openssl") is None:
        pytest.skip("nginx or openssl is not here: apt-get install --no-install-recommends nginx-light openssl")
    key, certificate, port = folder / "tls.key", folder / "tls.crt", free_port()
    request = f"req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={name} -addext subjectAltName=DNS:{name}"
    command = ["openssl", *request.split(), "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    folders = "".join(f"{kind}_temp_path {folder / kind};\n" for kind in NGINX_FOLDERS)
    config = f"pid {folder / 'pid'};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{folders}"
    (folder / "nginx.conf").write_text(f"{config}{server(port, key, certificate)}}}\n")
    log = folder / "nginx.log"
    with log.open("w") as output:
        command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 30
        while not is_listening(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "nginx does not listen"
            time.sleep(0.1)
        yield port, certificate
    finally:
        process.terminate()
        process.wait(timeout=30)


def is_listening(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
