"""Where a cluster is and as whom it is spoken to: kubeconfigs as people have them, and a pod's service account."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml
from aiohttp import web

from actions.connectors.kubernetes.access import find
from actions.connectors.kubernetes.cluster import Cluster
from actions.connectors.settings import ClusterAccess, ConnectorsSettings
from schemas.errors import ConfigurationError, TemporaryError
from tests.parts.need import need

# Any certificate authorities will do.
AUTHORITIES = Path(certifi.where()).read_text()
_PAIR = {"certificate": "pem", "key": "key"}
_NO_AUTHORITY = "basicConstraints=critical,CA:FALSE"


def kubeconfig(folder: Path, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> Path:
    names = {"shop": {"cluster": "one", "user": "bot"}, "bare": {"cluster": "two"}}
    document = {
        "current-context": "shop",
        "contexts": [{"name": name, "context": context} for name, context in names.items()],
        "clusters": [
            {"name": "one", "cluster": {"server": "https://one.example:6443"} | (cluster or {})},
            {"name": "two", "cluster": {"server": "http://localhost:8001"}},
        ],
        "users": [{"name": "bot", "user": user or {}}],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(document))
    return path


def test_the_current_context_is_used_or_the_one_named(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, user={"token": "abc"})
    found = find(path, None)
    assert (found.server, found.token()) == ("https://one.example:6443", "abc")
    # A proxy on this machine, as `kubectl proxy` is.
    bare = find(path, "bare")
    assert (bare.server, bare.token()) == ("http://localhost:8001", None)


@pytest.mark.parametrize(
    "authority",
    [{"certificate-authority": "ca.pem"}, {"certificate-authority-data": b64encode(AUTHORITIES.encode()).decode()}],
)
def test_only_its_own_certificate_authority_is_trusted(tmp_path: Path, authority: dict[str, str]) -> None:
    (tmp_path / "ca.pem").write_text(AUTHORITIES)
    tls = find(kubeconfig(tmp_path, authority), None).tls
    assert len(tls.get_ca_certs()) == AUTHORITIES.count("BEGIN CERTIFICATE")
    assert tls.check_hostname


def test_a_token_is_read_anew_each_time(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    found = find(kubeconfig(tmp_path, user={"tokenFile": "token"}), None)
    assert found.token() == "first"
    (tmp_path / "token").write_text("second\n")
    assert found.token() == "second"
    (tmp_path / "token").unlink()
    with pytest.raises(TemporaryError, match="token"):
        found.token()


def test_inside_a_cluster_the_service_account_is_used(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text(AUTHORITIES)
    (tmp_path / "token").write_text("of-the-pod")
    for host, server in (("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")):
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
        found = find(None, None, environ=environ, account=tmp_path)
        assert (found.server, found.token()) == (server, "of-the-pod")
    with pytest.raises(ConfigurationError, match="give a kubeconfig"):
        find(None, None, environ={}, account=tmp_path)


@pytest.mark.parametrize(
    ("cluster", "user", "problem"),
    [
        ({"insecure-skip-tls-verify": True}, {}, "insecure-skip-tls-verify"),
        ({"server": "http://one.example"}, {}, "only https"),
        ({"server": None}, {}, "no server"),
        ({"certificate-authority-data": "!!!!"}, {}, "config"),
        ({"certificate-authority": "missing.pem"}, {}, "missing|No such file"),
        ({}, {"exec": {"command": "aws"}}, "nothing else is run"),
        ({}, {"username": "kim", "password": "secret"}, "nothing else is run"),
        ({}, {"client-certificate-data": "bm90", "client-key-data": "bm90"}, "config"),
    ],
)
def test_what_is_not_honoured_is_said(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        find(kubeconfig(tmp_path, cluster, user), None)


@pytest.mark.parametrize("text", ["", "- a", "{", "contexts: [1]"])
def test_what_is_no_kubeconfig_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match="config"):
        find(path, None)
    with pytest.raises(ConfigurationError, match="absent"):
        find(tmp_path / "absent", None)


def test_settings_name_real_namespaces() -> None:
    assert ConnectorsSettings(kubernetes={"cluster": ClusterAccess()}).kubernetes["cluster"].enabled is False
    for names in ((), ("../x",), ("a", "B")):
        with pytest.raises(ValueError, match="namespaces"):
            ClusterAccess(namespaces=names)


class Certificates:
    """A certificate authority, a server's certificate for loopback, and a client's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
        by_ca = ("-CA", "ca.pem", "-CAkey", "ca.key")
        self._openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority")
        for name, address in (("server", "IP:127.0.0.1"), ("client", "DNS:bot")):
            files = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-addext", f"subjectAltName={address}")
            self._openssl("req", "-x509", *key, *by_ca, *files, "-subj", f"/CN={name}", "-addext", _NO_AUTHORITY)

    def inline(self, name: str) -> str:
        return b64encode((self.folder / name).read_bytes()).decode()

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[tuple[Certificates, str]]:
    """An API that tells who its client is by its certificate, behind a path as proxies have it."""
    need(None if shutil.which("openssl") else "openssl is not installed")
    certificates = Certificates(tmp_path)

    async def tell(request: web.Request) -> web.Response:
        subject = dict(pair for parts in request.get_extra_info("peercert")["subject"] for pair in parts)
        return web.json_response({"who": subject["commonName"], "path": request.path})

    application = web.Application()
    application.router.add_get("/{path:.*}", tell)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "ca.pem")
    tls.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    tls.verify_mode = ssl.CERT_REQUIRED
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    yield certificates, f"https://127.0.0.1:{runner.addresses[0][1]}/clusters/shop"
    await runner.cleanup()


@pytest.mark.parametrize("inline", [True, False])
async def test_both_sides_show_their_certificates(
    guarded: tuple[Certificates, str], tmp_path: Path, inline: bool
) -> None:
    certificates, server = guarded
    if inline:
        authority = {"certificate-authority-data": certificates.inline("ca.pem")}
        pair = {f"client-{kind}-data": certificates.inline(f"client.{end}") for kind, end in _PAIR.items()}
    else:
        authority = {"certificate-authority": "ca.pem"}
        pair = {f"client-{kind}": f"client.{end}" for kind, end in _PAIR.items()}
    access = find(kubeconfig(tmp_path, {"server": server, **authority}, pair), None)
    cluster = Cluster(ClusterAccess(), access, sleep=asyncio.sleep)
    assert await cluster.get("/api/v1/nodes/one") == {"who": "client", "path": "/clusters/shop/api/v1/nodes/one"}
    await cluster.close()


async def test_a_server_of_another_authority_is_told_nothing(guarded: tuple[Certificates, str], tmp_path: Path) -> None:
    _, server = guarded
    other = {"certificate-authority-data": b64encode(AUTHORITIES.encode()).decode()}
    access = find(kubeconfig(tmp_path, {"server": server, **other}, {"token": "secret"}), None)
    cluster = Cluster(ClusterAccess(), access, sleep=asyncio.sleep)
    with pytest.raises(TemporaryError, match="CERTIFICATE_VERIFY_FAILED"):
        await cluster.get("/api/v1/nodes/one")
    await cluster.close()
