"""Stored pictures that were damaged since, as answers."""

from pathlib import Path

import httpx

from tests.http_client import AnswerCheck, refused
from tests.pictures import jpeg
from tests.server_process import serving


def test_a_damaged_picture_is_no_fault_of_who_asks_for_it(tiny_model: Path, tmp_path: Path) -> None:
    with (
        serving(tmp_path, tiny_model) as address,
        httpx.Client(base_url=address, event_hooks={"response": [AnswerCheck(address)]}) as client,
    ):
        crop = "/v1/galleries/default/images/a/crop"
        client.put("/v1/galleries/default/images/a", content=jpeg(0, (320, 200)))
        query = client.post("/v1/queries", content=jpeg(0, (320, 200))).headers["Location"]
        stored = [*(tmp_path / "galleries/default/crops").rglob("*.jpg"), *(tmp_path / "queries").iterdir()]
        assert len(stored) == 2
        for path in stored:
            path.write_bytes(path.read_bytes()[:500])
        refused(client.get(crop, params={"max_side": 64}), 503, "is not the picture that was written")
        shown = client.get(f"{query}/picture", params={"max_side": 64})
        refused(shown, 503, "cannot be shown smaller", "send it again")
        query_id = query.rpartition("/")[2]
        answer = client.get("/v1/galleries/default/search", params={"query_id": query_id})
        refused(answer, 503, query_id, "send the picture again")
