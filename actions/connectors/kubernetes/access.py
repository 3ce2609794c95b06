"""Where a Kubernetes API is and as whom it is spoken to: from a kubeconfig, or from inside the cluster.

Called once for each configured cluster, before anything is asked of it. A kubeconfig may name a program that makes
credentials, or turn the check of certificates off; neither is done, and the error says what to give instead.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from actions.connectors.settings import is_loopback
from schemas.errors import ConfigurationError, TemporaryError

# Where Kubernetes puts the credentials of a pod's service account.
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True)
class Access:
    """What a client needs. The token is asked for before every request: that of a service account changes hourly."""

    server: str
    tls: ssl.SSLContext
    token: Callable[[], str | None]


def find(
    kubeconfig: Path | None,
    context: str | None,
    *,
    environ: Mapping[str, str] = os.environ,
    account: Path = SERVICE_ACCOUNT,
) -> Access:
    """Read the kubeconfig; without one, look for the service account of the pod that this runs in.

    Raises:
        ConfigurationError: there is none, or it cannot be used.

    """
    try:
        found = _in_cluster(environ, account) if kubeconfig is None else _from_file(kubeconfig, context)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{kubeconfig or account}: {error}") from None
    if urlsplit(found.server).scheme != "https" and not is_loopback(urlsplit(found.server).hostname or ""):
        raise ConfigurationError(f"{found.server}: only https, or a proxy on this machine's loopback, is spoken to")
    return found


def _in_cluster(environ: Mapping[str, str], account: Path) -> Access:
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if host is None:
        raise ConfigurationError("not inside a Kubernetes cluster; give a kubeconfig")
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(server, ssl.create_default_context(cafile=account / "ca.crt"), _reader(account / "token"))


def _from_file(path: Path, context: str | None) -> Access:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path}: not YAML: {error}") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: not a kubeconfig")
    names = _named(document, "contexts", context or document.get("current-context"), path)
    cluster = _named(document, "clusters", names.get("cluster"), path)
    user = _named(document, "users", names.get("user"), path) if names.get("user") else {}
    if cluster.get("insecure-skip-tls-verify"):
        raise ConfigurationError(f"{path}: insecure-skip-tls-verify is not honoured; name the certificate authority")
    if "exec" in user or "auth-provider" in user or "username" in user:
        raise ConfigurationError(f"{path}: give the user a token, tokenFile or client certificate; nothing else is run")
    if not isinstance(cluster.get("server"), str):
        raise ConfigurationError(f"{path}: the cluster has no server")
    return Access(cluster["server"], _tls(cluster, user, path.parent), _token(user, path.parent))


def _named(document: Mapping[str, Any], kind: str, name: str | None, path: Path) -> Mapping[str, Any]:
    for item in document.get(kind) or ():
        if isinstance(item, dict) and name is not None and item.get("name") == name:
            found = item.get(kind.removesuffix("s"))
            return found if isinstance(found, dict) else {}
    raise ConfigurationError(f"{path}: no entry {name!r} in {kind}")


def _tls(cluster: Mapping[str, Any], user: Mapping[str, Any], folder: Path) -> ssl.SSLContext:
    authority, inline = cluster.get("certificate-authority"), cluster.get("certificate-authority-data")
    tls = ssl.create_default_context(
        cafile=folder / authority if authority else None,
        cadata=_decoded(inline).decode() if inline else None,
    )
    if "client-certificate-data" in user:
        _load_pair(tls, user)
    elif "client-certificate" in user:
        tls.load_cert_chain(folder / user["client-certificate"], folder / user["client-key"])
    return tls


def _decoded(text: str) -> bytes:
    # Strictly: what is no base64 would decode to nothing, and no authority means all that the system trusts.
    return base64.b64decode("".join(text.split()), validate=True)


def _load_pair(tls: ssl.SSLContext, user: Mapping[str, Any]) -> None:
    # OpenSSL reads a key from a file only; this one is readable by us alone, and gone at once.
    pair = [_decoded(user.get(name, "")) for name in ("client-certificate-data", "client-key-data")]
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"\n".join(pair))
        file.flush()
        tls.load_cert_chain(file.name)


def _token(user: Mapping[str, Any], folder: Path) -> Callable[[], str | None]:
    if "tokenFile" in user:
        return _reader(folder / user["tokenFile"])
    token = user.get("token")
    return lambda: token


def _reader(path: Path) -> Callable[[], str]:
    def read() -> str:
        try:
            return path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise TemporaryError(f"{path}: {error}") from None

    return read
