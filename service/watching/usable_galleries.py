"""The galleries that can be used, asked one by one: one that is damaged keeps no other back."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

from index.errors import GalleryNotFound, GalleryUnavailable, StorageError
from index.gallery import Gallery, GalleryHome

T = TypeVar("T")


def galleries_of(home: GalleryHome) -> list[Gallery]:
    """Every gallery that can be used, by name; one that is dropped meanwhile is left out."""
    galleries = []
    for name in home.names():
        with contextlib.suppress(GalleryNotFound, GalleryUnavailable):
            galleries.append(home.get(name))
    return galleries


def ask_each(home: GalleryHome, ask: Callable[[Gallery], T]) -> tuple[dict[str, T], dict[str, str]]:
    """What every gallery answers, by name, and what is wrong with those that cannot: none keeps another back."""
    answers: dict[str, T] = {}
    problems = dict(home.problems())
    for gallery in galleries_of(home):
        try:
            answers[gallery.name] = ask(gallery)
        except GalleryNotFound:
            continue  # dropped meanwhile
        except StorageError as error:
            problems[gallery.name] = str(error)
    return answers, problems


def index_problems(home: GalleryHome) -> dict[str, str | None]:
    """What makes the index of every gallery slower than it should be; None where nothing does."""
    return {gallery.name: gallery.index_state().problem for gallery in galleries_of(home)}
