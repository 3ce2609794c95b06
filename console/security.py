"""Who may ask, and what a browser may do with the answers.

Middlewares and a signal of the application. The page shows telemetry, which is hostile: the content security policy
lets it run our own scripts and nothing else, and Trusted Types forbid making HTML out of text at all. Without a token
the console trusts whoever is on this machine, but not the web pages that they have open.
"""

from __future__ import annotations

from hmac import compare_digest
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from console.api.webhooks import WEBHOOK
from console.config import ConsoleConfig, is_loopback
from console.desk import DESK

# The page itself holds no data, and probes must work without a secret.
_OPEN_ROUTES = frozenset({"page", "asset", "health", "ready"})

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "reflexarc",
}


async def harden(_request: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers to every answer, streams and errors included."""
    response.headers.update(_HEADERS)


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let through who may ask."""
    config = request.app[DESK].config
    if config.token is None:
        _check_host(request)
    elif request.match_info.route.name not in _OPEN_ROUTES and not _is_signed(request, config):
        _check_token(request, config.token)
    _check_origin(request)
    return await handler(request)


def _is_signed(request: web.Request, config: ConsoleConfig) -> bool:
    """Whether the handler asks for a signature in the place of the token."""
    return request.match_info.route.name == WEBHOOK and request.match_info["source"] in config.signatures


def _check_host(request: web.Request) -> None:
    """Refuse a name that is not this machine's: a page elsewhere may have had its own name resolve to here."""
    host = _hostname(request.host)
    if host is None or not is_loopback(host):
        raise web.HTTPMisdirectedRequest(text="without a token the console answers to loopback addresses only")


def _check_token(request: web.Request, token: str) -> None:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    # Bytes: compare_digest takes no other characters than ASCII in strings, and the header is anyone's.
    if scheme.lower() != "bearer" or not compare_digest(given.strip().encode(errors="replace"), token.encode()):
        raise web.HTTPUnauthorized(text="a bearer token is needed", headers={"WWW-Authenticate": "Bearer"})


def _check_origin(request: web.Request) -> None:
    """Refuse what another site's page sends: browsers name the site with everything that is not a plain GET."""
    origin = request.headers.get("Origin")
    if origin is not None and _authority(origin) != request.host.lower():
        raise web.HTTPForbidden(text="requests from pages of other sites are refused")


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
