"""Real servers for tests, on this machine: Orthanc with passwords, nginx with TLS in front of a service, and Slurm."""

import json
import os
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


SLURM = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SchedulerParameters=sched_interval=1
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={processors} RealMemory=20000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def running_slurm(folder):
    """A cluster of this machine; gives the environment in which its commands find it."""
    daemons = [shutil.which(name) or shutil.which(name, path="/usr/sbin") for name in ("slurmctld", "slurmd")]
    if None in daemons or os.getuid() != 0:
        pytest.skip("Slurm is not here, or not for this user: apt-get install --no-install-recommends slurm-wlm")
    config = SLURM.format(
        host=socket.gethostname().partition(".")[0],
        ports=(free_port(), free_port()),
        folder=folder,
        processors=os.cpu_count(),
    )
    (folder / "slurm.conf").write_text(config)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
    with (folder / "slurm.log").open("w") as log:
        processes = [subprocess.Popen([name, "-D"], stdout=log, stderr=log, env=environment) for name in daemons]
    try:
        wait_for_node(environment, folder / "slurm.log")
        yield environment
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(timeout=60)


def wait_for_node(environment, log):
    """Wait until the cluster's machine is idle."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = subprocess.run(["sinfo", "--noheader", "--format=%T"], env=environment, capture_output=True, text=True)
        if found.stdout.strip() == "idle":
            return
        time.sleep(0.3)
    pytest.skip(f"Slurm does not run on this machine: {log.read_text()[-300:]}")
