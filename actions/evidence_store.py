"""A bucket of an S3-compatible store, which packages of evidence are copied to.

Called by `actions.forensics` with a package that is sealed. It becomes the objects `<prefix>/<action>/<number>/<file>`:
the first of them takes the number, only if there is no such object yet, so no two packages ever share one; the
manifest comes last, so a package with a manifest is whole. Nothing is ever overwritten or deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, HttpUrl, SecretStr

from actions.connectors.settings import Group, is_loopback
from schemas.errors import ConfigurationError, TemporaryError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Store

MANIFEST = "manifest.json"
# S3 takes no part smaller than 5 MiB but the last. What is larger goes in parts, four at a time: 32 MiB of memory.
_PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_ONCE = 4
# As with other systems: what does not answer for so long is away.
_CONNECT_SECONDS = 5.0
_RETRIES = 3
# Packages of one action; more executors than this never died over one.
_MOST_PACKAGES = 20


def _not_in_the_clear(url: HttpUrl) -> HttpUrl:
    if url.scheme != "https" and not is_loopback(url.host or ""):
        raise ValueError("only https, or this machine's loopback, is spoken to")
    return url


class BucketSettings(Group):
    """A bucket that packages of evidence are copied to. Needs `pip install 'reflexarc[s3]'`."""

    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    """Its name."""
    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+)*$")] = "reflexarc/evidence"
    """What the names of all objects begin with."""
    endpoint: Annotated[HttpUrl, AfterValidator(_not_in_the_clear)] | None = None
    """Where the store is. None: Amazon S3."""
    region: str = "us-east-1"
    """Region of the bucket."""
    access_key_id: SecretStr | None = None
    """As whom. None: as the environment says, by variables, a web identity or the role of the machine."""
    secret_access_key: SecretStr | None = None
    """What goes with it."""
    ca_file: Path | None = None
    """Certificate authority of the store's TLS certificate, where the system's do not know it."""
    seconds: Annotated[float, Field(gt=0, le=120)] = 20.0
    """Longest that containment waits for it: to say what it has already, and to take the package, each."""


class Bucket:
    """Client of one bucket.

    Raises:
        ConfigurationError: the library is not installed.

    """

    def __init__(self, settings: BucketSettings) -> None:
        self._settings = settings
        self._store = _connect(settings)

    async def sealed(self, action_id: str) -> tuple[str, bytes] | None:
        """Find the package of an action that is whole: where it is, and its manifest.

        Raises:
            TemporaryError: the store cannot be asked.

        """
        async with self._bounded():
            begun = await self._store.list_with_delimiter_async(f"{self._settings.prefix}/{action_id}")
            for place in sorted(begun["common_prefixes"]):
                try:
                    found = await self._store.get_async(f"{place}/{MANIFEST}")
                    return self._url(place), bytes(await found.bytes_async())
                except FileNotFoundError:
                    # Its executor died over it.
                    continue
        return None

    async def copy(self, action_id: str, files: Sequence[Path]) -> str:
        """Copy files, of which there is at least one, to a place that is theirs alone; gives its address.

        Raises:
            TemporaryError: not all could be copied.

        """
        async with self._bounded():
            place = await self._begin(f"{self._settings.prefix}/{action_id}", files[0])
            for file in files[1:]:
                await self._put(f"{place}/{file.name}", file)
        return self._url(place)

    def _url(self, place: str) -> str:
        return f"s3://{self._settings.bucket}/{place}"

    async def _begin(self, root: str, file: Path) -> str:
        """Take the first place that nobody has."""
        from obstore.exceptions import AlreadyExistsError  # noqa: PLC0415 - an extra: most never need it

        for number in range(1, _MOST_PACKAGES + 1):
            place = f"{root}/{number:02}"
            with suppress(AlreadyExistsError):
                await self._store.put_async(f"{place}/{file.name}", file, mode="create")
                return place
        raise TemporaryError(f"{self._url(root)} has {_MOST_PACKAGES} packages already, and none of them is whole")

    async def _put(self, key: str, file: Path) -> None:
        """Copy a file, unless there is an object of that name."""
        if await asyncio.to_thread(_size, file) <= _PART_BYTES:
            await self._store.put_async(key, file, mode="create")
            return
        # Parts cannot be sent on condition. The place is ours alone, so nobody but a stranger could come between.
        with suppress(FileNotFoundError):
            await self._store.head_async(key)
            raise TemporaryError(f"{self._url(key)} is there already")
        await self._store.put_async(key, file, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

    @asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        """Bound a call in time, and say in one line what went wrong."""
        from obstore.exceptions import BaseError  # noqa: PLC0415 - an extra: most never need it

        seconds = self._settings.seconds
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise TemporaryError(f"the store of evidence took longer than {seconds:g} s") from None
        except (BaseError, OSError, ValueError) as error:
            # What follows the first paragraph is for those who debug the library.
            said = " ".join(str(error).partition("\n\n")[0].split())
            raise TemporaryError(f"the store of evidence: {said}"[:300]) from None


def _size(file: Path) -> int:
    return file.stat().st_size


def _connect(settings: BucketSettings) -> S3Store:
    try:
        from obstore.store import S3Store  # noqa: PLC0415 - an extra: most never need it
    except ImportError:
        raise ConfigurationError("evidence in a bucket needs obstore: pip install 'reflexarc[s3]'") from None
    settled: ClientConfig = {
        "allow_http": settings.endpoint is not None and settings.endpoint.scheme == "http",
        "connect_timeout": timedelta(seconds=_CONNECT_SECONDS),
    }
    if settings.ca_file is not None:
        settled["root_certificate"] = settings.ca_file.read_bytes()
    where: S3Config = {"region": settings.region}
    # What is not given is left to the environment.
    if settings.endpoint is not None:
        where["endpoint"] = str(settings.endpoint)
    if settings.access_key_id is not None:
        where["access_key_id"] = settings.access_key_id.get_secret_value()
    if settings.secret_access_key is not None:
        where["secret_access_key"] = settings.secret_access_key.get_secret_value()
    retries: RetryConfig = {"max_retries": _RETRIES, "retry_timeout": timedelta(seconds=settings.seconds)}
    return S3Store(settings.bucket, config=where, client_options=settled, retry_config=retries)
