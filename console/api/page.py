"""The page: four files out of the package, held in memory. No build step, nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = {file.name: file.read_bytes() for file in files("console").joinpath("pages").iterdir() if file.is_file()}


async def get_page(request: web.Request) -> web.Response:
    name = request.match_info.get("name", "index.html")
    body = _FILES.get(name)
    if body is None:
        raise web.HTTPNotFound(text="no such file")
    return web.Response(body=body, content_type=_TYPES["." + name.rpartition(".")[2]], charset="utf-8")


ROUTES = (web.get("/", get_page, name="page"), web.get("/assets/{name}", get_page, name="asset"))
