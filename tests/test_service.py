"""The running service as a whole: what hostile clients cannot do, and what a restart keeps."""

from pathlib import Path
from urllib.parse import quote

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pictures import jpeg
from tests.server_process import serving


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.text(max_size=40),
    name=st.text(min_size=1, max_size=20),
    body=st.binary(max_size=200),
    cut=st.integers(0, 2000),
)
def test_nothing_a_client_sends_makes_a_500(client: httpx.Client, query: str, name: str, body: bytes, cut: int) -> None:
    broken = jpeg(0)[:cut] + body
    answers = [
        client.post("/v1/galleries/default/search", params={name: query}, content=broken),
        client.get("/v1/galleries/default/images", params={f"attribute.{name}": query}),
        client.post("/v1/galleries/default/images", files=[("image", ("x.jpg", jpeg(0))), ("metadata", (None, body))]),
        client.get(f"/v1/galleries/default/images/{quote(name, safe='')}"),
    ]
    for answer in answers:
        assert answer.status_code < 500, answer.text
        answer.json()


def test_images_are_there_after_a_restart(tiny_model: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "data", tiny_model) as server:
        assert httpx.put(f"{server}/v1/galleries/default/images/a", content=jpeg(1)).status_code == 201
    with serving(tmp_path / "data", tiny_model) as server:
        found = httpx.post(f"{server}/v1/galleries/default/search", content=jpeg(1)).json()
        assert found["matches"][0]["image_id"] == "a"
