"""A gallery on Milvus that two services have moves to another model, whatever each of them does meanwhile."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest

from index.gallery import Gallery, NewImage
from index.milvus.milvus_home import MilvusHome
from index.milvus.moving_gallery import MovingGallery
from tests.milvus_homes import milvus_uri, new_home, new_prefix
from tests.test_gallery_migration import NEW, OLD, SPEC, check, image, migrated


@dataclass(frozen=True)
class Services:
    """One gallery as two services have it, and what both are of."""

    homes: tuple[MilvusHome, MilvusHome]
    one: MovingGallery
    other: MovingGallery

    def collections(self) -> list[str]:
        """States of the gallery's collections."""
        home = self.homes[0]
        return sorted(each.state for each in home._collections.names() if each.gallery_key == self.one.key)


@pytest.fixture(scope="module")
def prefix() -> str:
    milvus_uri()
    return new_prefix()


@pytest.fixture(scope="module")
def homes(prefix: str) -> Iterator[tuple[MilvusHome, MilvusHome]]:
    with closing(new_home(prefix)) as one, closing(MilvusHome(milvus_uri(), crops=one._crops, prefix=prefix)) as other:
        yield one, other


numbers = iter(range(1000))


@pytest.fixture
def services(homes: tuple[MilvusHome, MilvusHome]) -> Iterator[Services]:
    name = f"g{next(numbers)}"
    one, _ = homes[0].create(name, SPEC)
    yield Services(homes, one, homes[1].get(name))
    homes[0].drop(name)


def filled(gallery: Gallery, count: int = 30) -> dict[str, NewImage]:
    images = {each.image_id: each for each in (image(n) for n in range(count))}
    gallery.add(list(images.values()))
    return images


def test_both_services_see_the_switch_at_once(services: Services) -> None:
    images = filled(services.one)
    crops = {name: services.other.get(name).crop_name for name in images}
    when = {name: services.other.get(name).ingested_at for name in images}
    begun, _ = services.one.begin_migration(NEW, "f")
    assert services.other.begin_migration(NEW, "f") == (begun, False)
    assert services.other.migrations() == [begun]
    check(services.other, images, OLD)
    assert migrated(services.other) == "finished"
    check(services.one, images)
    check(services.other, images)
    assert services.one.migrations() == services.other.migrations()
    assert {name: services.one.get(name).crop_name for name in images} == crops
    assert {name: services.one.get(name).ingested_at for name in images} == when
    assert services.collections() == ["serving"]
    assert services.one.crop("i003")[1] == images["i003"].crop
