"""``vehicle-search keys``: make, list and revoke the keys that programs send; the service may run meanwhile."""

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from index.access_key import SCOPES, AccessKey, KeyHome, check_burst, check_key_name, check_rate, digest_of, new_token
from index.errors import DataFolderUnusable, InvalidValue
from index.manifest import parse_time
from index.metadata import check_gallery_name
from index.postgres.postgres_home import open_database
from index.standard_output import print_to_nobody, printed
from index.storage.key_database import KeyDatabase
from index.text_table import table_lines
from service.settings import PREFIX, Settings
from service.wire.documents import key_document, time_text

_DESCRIPTION = """\
Keys for those who call the service. With the first one every request needs one; a running service follows within a
second. Only a hash of a key is kept: it is shown once, when it is made.
"""
_EXAMPLES = """\
examples:
  vehicle-search keys create search-page --scope read --gallery yard --rate 5
  TOKEN=$(vehicle-search keys create camera-7 --scope write --expires 90d)
  curl -H "Authorization: Bearer $TOKEN" -F image=@car.jpg http://127.0.0.1:8000/v1/galleries/default/images
  vehicle-search keys list
  vehicle-search keys revoke 3f0c6e1d2a3b
"""
_SCOPE_HELP = (
    "read: search and read; write: add, change and erase images, import; admin: galleries, migrations, the audit log, "
    "and the other two (repeatable)"
)
_AGES = {"d": "days", "h": "hours"}


def keys(words: Sequence[str]) -> int:
    """Run the command; returns the exit code. Raises VehicleSearchError."""
    arguments = _parser().parse_args(words)
    try:
        with _home(arguments) as home:
            return printed(lambda: int(arguments.run(arguments, home)))
    except OSError as error:  # of what it prints; the files have errors of their own
        print(f"vehicle-search: {error}", file=sys.stderr)
        print_to_nobody()
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vehicle-search keys", description=_DESCRIPTION, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    create = commands.add_parser(
        "create", help="make a key and print it, once", description="Make a key; the token alone goes to stdout."
    )
    create.add_argument("name", metavar="NAME", help="who will use it, for people")
    create.add_argument("--scope", action="append", required=True, choices=SCOPES, help=_SCOPE_HELP)
    create.add_argument(
        "--gallery", action="append", metavar="NAME", help="only this one (repeatable; default: every gallery)"
    )
    create.add_argument(
        "--expires", metavar="WHEN", help="90d, 12h, or a time as 2027-01-01T00:00:00Z (default: never)"
    )
    create.add_argument("--rate", type=float, metavar="N", help="requests a second (default: as many as may be)")
    create.add_argument(
        "--burst",
        type=int,
        metavar="N",
        help="requests that may come at once (default: what --rate allows in a second)",
    )
    create.set_defaults(run=_create)
    listing = commands.add_parser("list", help="every key that was made", description="Every key, the ended ones too.")
    listing.add_argument("--json", action="store_true", help="print a JSON array")
    listing.set_defaults(run=_list)
    revoke = commands.add_parser("revoke", help="end keys", description="End keys for good; a running service follows.")
    revoke.add_argument("key_id", nargs="+", metavar="ID", help="the part of a token between vsk_ and the next _")
    revoke.set_defaults(run=_revoke)
    default = os.environ.get(f"{PREFIX}DATA_DIR", str(Settings.model_fields["data_dir"].default))
    url_file = os.environ.get(f"{PREFIX}DATABASE_URL_FILE")
    for command in (create, listing, revoke):
        command.add_argument(
            "--data-dir", type=Path, default=Path(default),
            help=f"folder of the galleries (default: {PREFIX}DATA_DIR, else data)",
        )  # fmt: skip
        command.add_argument(
            "--database-url-file", type=Path, metavar="FILE",
            default=None if url_file is None else Path(url_file),
            help=f"file with the URL of the database that replicas share, which has their keys (default: {PREFIX}"
            "DATABASE_URL_FILE, else none: the data folder's)",
        )  # fmt: skip
    return parser


def _create(arguments: argparse.Namespace, database: KeyHome) -> int:
    now = datetime.now(UTC)
    token, key_id = new_token()
    key = AccessKey(
        key_id=key_id, name=check_key_name(arguments.name), digest=digest_of(token),
        scopes=frozenset(arguments.scope),
        galleries=_galleries(arguments.gallery),
        rate=None if arguments.rate is None else check_rate(arguments.rate, prefix="--"),
        burst=check_burst(arguments.burst, arguments.rate, prefix="--"), created_at=now,
        expires_at=None if arguments.expires is None else _time(arguments.expires, now),
    )  # fmt: skip
    if arguments.database_url_file is None:
        _make_folder(arguments.data_dir)
    first = not database.all()
    database.add(key)
    print(f"key {key_id} ({key.name}): {_described(key)}. This is shown once:", file=sys.stderr, flush=True)
    try:
        print(token, flush=True)
    except OSError:
        database.revoke(key_id, now)
        print(f"nobody has seen key {key_id}, so it is revoked: make another one", file=sys.stderr)
        print_to_nobody()
        return 2
    if first:
        print("It is the first: every request needs a key from now on.", file=sys.stderr)
    return 0


def _list(arguments: argparse.Namespace, database: KeyHome) -> int:
    now, found = datetime.now(UTC), database.all()
    if arguments.json:
        print(json.dumps([key_document(key, now) for key in found], indent=2))
        return 0
    if not found:
        place = arguments.data_dir if arguments.database_url_file is None else database.place
        print(f"no key was made in {place}: nobody is asked for one")
        return 0
    rows = [
        (
            key.key_id, key.name, key.ended(now) or "works", " ".join(sorted(key.scopes)),
            "all" if key.galleries is None else " ".join(sorted(key.galleries)),
            "any" if key.rate is None else f"{key.rate:g}/s", _day(key.created_at),
            "never" if key.expires_at is None else _day(key.expires_at),
        )
        for key in found
    ]  # fmt: skip
    print("\n".join(table_lines(("ID", "NAME", "STATE", "SCOPES", "GALLERIES", "RATE", "CREATED", "EXPIRES"), rows)))
    return 0


def _revoke(arguments: argparse.Namespace, database: KeyHome) -> int:
    now = datetime.now(UTC)
    for key_id in arguments.key_id:
        key = database.revoke(key_id, now)
        print(f"key {key_id} ({key.name}) is revoked")
    if all(key.ended(now) for key in database.all()):
        print("No key works now, and every request needs one.")
        print(f"To go back to a service without keys, stop it and {database.way_back}.")
    return 0


@contextmanager
def _home(arguments: argparse.Namespace) -> Iterator[KeyHome]:
    """Where the keys are."""
    if arguments.database_url_file is None:
        yield KeyDatabase(arguments.data_dir)
        return
    with closing(open_database(arguments.database_url_file)) as database:
        from index.postgres.postgres_keys import PostgresKeys  # which needs what is told to be missing by then

        yield PostgresKeys(database)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataFolderUnusable(f"the data folder {folder} cannot be made: {error.strerror}") from error


def _galleries(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(check_gallery_name(name) for name in names)


def _time(text: str, now: datetime) -> datetime:
    age = re.fullmatch(r"([1-9][0-9]{0,4})([dh])", text, re.ASCII)
    try:
        when = parse_time(text) if age is None else now + timedelta(**{_AGES[age[2]]: int(age[1])})
    except (InvalidValue, ValueError, OverflowError) as error:
        raise InvalidValue(f"--expires {text!a}: 90d, 12h, or a time as 2027-01-01T00:00:00Z is expected") from error
    if when <= now:
        raise InvalidValue(f"--expires {text!a} is over")
    return when


def _described(key: AccessKey) -> str:
    where = "every gallery" if key.galleries is None else ", ".join(sorted(key.galleries))
    rate = "" if key.rate is None else f", {key.rate:g} requests a second ({key.burst} at once)"
    until = "" if key.expires_at is None else f", until {_day(key.expires_at)}"
    return f"{' and '.join(sorted(key.scopes))} in {where}{rate}{until}"


def _day(time: datetime) -> str:
    return time_text(time.replace(microsecond=0))
