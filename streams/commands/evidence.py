"""Commands about evidence and the keys that vouch for it: what there is, and whether it is as it was."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigurationError, PermanentError
from streams.settings import load_settings

if TYPE_CHECKING:
    from actions.forensics import ForensicsSettings

WRONG = 1

evidence = typer.Typer(help="Packages of evidence: list, check and seal them.", no_args_is_help=True)
keys = typer.Typer(help="Ed25519 keys: make one, sign with it.", no_args_is_help=True)

PublicKey = Annotated[Path, typer.Option("--key", help="Public key of who sealed them.")]
PrivateKey = Annotated[Path, typer.Option("--key", help="Private key.")]


@evidence.command("list")
def list_packages() -> None:
    """List the packages in the folder, and say which were begun and never sealed."""
    from actions.evidence_folder import packages  # noqa: PLC0415 - heavy: see streams.cli

    now = time.time()
    for one in packages(_folder(load_settings().forensics)):
        state = "signed" if one.signed else "not signed"
        if not one.sealed:
            state = "ABANDONED: `reflexarc evidence seal`" if one.is_abandoned(now) else "being written"
        typer.echo(f"{one.folder.name}  {one.files} files  {one.bytes} bytes  {state}")


@evidence.command()
def verify(
    folders: Annotated[list[Path], typer.Argument(help="Packages: the folders that hold a manifest.json.")],
    key: PublicKey,
) -> None:
    """Check signature, sizes and hashes of packages with the public key; fail if one is not as it was sealed."""
    from actions.evidence_folder import problems  # noqa: PLC0415 - heavy: see streams.cli

    wrong = False
    for folder in folders:
        found = list(problems(folder, key))
        typer.echo(f"{folder}: {'NOT as it was sealed' if found else 'as it was sealed'}")
        for problem in found:
            typer.echo(f"  {problem}")
        wrong |= bool(found)
    if wrong:
        raise typer.Exit(WRONG)


@evidence.command()
def seal() -> None:
    """Seal what is left of packages whose executor died over them an hour ago or more; nothing is deleted."""
    from actions import evidence_folder, signing  # noqa: PLC0415 - heavy: see streams.cli

    settings, now = load_settings().forensics, time.time()
    key = None if settings.signing_key is None else signing.private_key(settings.signing_key)
    left = [one for one in evidence_folder.packages(_folder(settings)) if one.is_abandoned(now)]
    for one in left:
        evidence_folder.seal_abandoned(one, "reflexarc evidence seal", time.time_ns(), key)
        typer.echo(f"{one.folder}: sealed, {one.files} files")
    if not left:
        typer.echo("nothing is left unsealed")


@keys.command()
def new(
    path: Annotated[Path, typer.Argument(help="Where the private key goes; the public one beside it, as .pub.")],
) -> None:
    """Make a pair of keys."""
    from actions.signing import new_key  # noqa: PLC0415 - heavy: see streams.cli

    typer.echo(f"private key: {path}\npublic key: {new_key(path)}")


@keys.command()
def sign(file: Annotated[Path, typer.Argument(help="What to sign.")], key: PrivateKey) -> None:
    """Sign a file; the signature goes beside it, as .sig."""
    from actions import signing  # noqa: PLC0415 - heavy: see streams.cli

    secret, to = signing.private_key(key), signing.signature_of(file)
    try:
        to.write_bytes(signing.sign(file.read_bytes(), secret))
    except OSError as error:
        raise PermanentError(f"{error.filename}: {error.strerror}") from None
    typer.echo(f"signature: {to}")


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.add_typer(evidence, name="evidence")
    app.add_typer(keys, name="keys")


def _folder(settings: ForensicsSettings) -> Path:
    if settings.folder is None:
        raise ConfigurationError("forensics.folder is not set, so no evidence is collected here")
    return settings.folder
