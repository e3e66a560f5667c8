"""Gives Milvus's user the password of its token, in place of the one with which every new server begins.

MILVUS_URI is the server, MILVUS_TOKEN_FILE holds `root:PASSWORD`. Where that works already nothing is changed.
"""

import os
import sys
from pathlib import Path

from pymilvus import MilvusClient, MilvusException

FIRST = "Milvus"  # what Milvus 2.3 gives its root


def main() -> int:
    """Exit code 0 where the token works afterwards, else 1 and one line that says why it does not."""
    uri, file = os.environ["MILVUS_URI"], Path(os.environ["MILVUS_TOKEN_FILE"])
    user, _, password = file.read_text(encoding="utf-8").strip().partition(":")
    if not password:
        print(f"{file} must hold USER:PASSWORD; `make secrets` makes it", file=sys.stderr)
        return 1
    if works(uri, user, password):
        return 0
    if not works(uri, user, FIRST):
        print(
            f"{uri} does not answer, or {user} has neither the password of {file} nor the first one of a new server: "
            "put the right one into the file",
            file=sys.stderr,
        )
        return 1
    MilvusClient(uri=uri, user=user, password=FIRST).update_password(user, FIRST, password)
    print(f"{uri}: {user} has the password of {file.name} now")
    return 0 if works(uri, user, password) else 1


def works(uri: str, user: str, password: str) -> bool:
    """Whether the server answers that user."""
    try:
        MilvusClient(uri=uri, user=user, password=password).list_collections()
    except MilvusException:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
