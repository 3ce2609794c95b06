"""Where a cluster is and as whom it is spoken to: kubeconfigs as people have them, and a pod's service account."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml

from actions.connectors.kubernetes.access import find
from actions.connectors.settings import ClusterAccess, ConnectorsSettings
from schemas.errors import ConfigurationError, TemporaryError

# Any certificate authorities will do.
AUTHORITIES = Path(certifi.where()).read_text()


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
