"""The audit log, for those who may look into it."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from service.access.audit_pages import AuditFilter
from service.access.caller import caller_of
from service.context import context_of
from service.gate.audit_trail import ACTIONS, note
from service.openapi import descriptions as say
from service.wire.documents import encode, encoded_answer
from service.wire.parameters import AUDIT, Parameter, choice, read_parameters

ACTION = Parameter(
    name="action", description="Entries of this action.", schema={"type": "string", "enum": list(ACTIONS)},
    read=choice(*ACTIONS),
)  # fmt: skip

router = APIRouter(tags=["audit"])


@router.get(
    "/v1/audit",
    summary="Who did what?",
    responses=say.responses(say.AUDIT_ANSWER, 422),
    openapi_extra=say.request(None, (*AUDIT, ACTION)),
)
async def get_audit(request: Request) -> Response:
    """Entries of the audit log, latest first, as far as they are kept; of the key's galleries, where it has some.

    ``next`` is the cursor of what is older, null where nothing is. A page that has to look through much may be short.
    Looking is an entry, too.
    """
    values = read_parameters(request, (*AUDIT, ACTION))
    caller = caller_of(request)
    note(request, gallery=values.one("gallery"))
    wanted = AuditFilter(
        since=values.one("since"), until=values.one("until"), key=values.one("key"), action=values.one("action"),
        gallery=values.one("gallery"), reaches=caller.reaches,
    )  # fmt: skip
    read = context_of(request).read_audit

    def reading() -> bytes:
        page = read(wanted, limit=values.one("limit", 100), cursor=values.one("cursor"))
        return encode({"entries": page.entries, "next": page.cursor})

    return encoded_answer(await run_in_threadpool(reading))
