"""Files that the page offers for download, each at one fixed address below ``/export/``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, Response

from app import exports, studies, votes
from app.words import said
from ekipl_lab.errors import DataError, EKIPLError

_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".jsonl": "application/jsonl",
    ".parquet": "application/vnd.apache.parquet",
}


def _votes(_: Request) -> bytes:
    path = votes.votes_file()
    return path.read_bytes() if path.is_file() else b""


def _report(_: Request) -> bytes:
    return _read(studies.report_file(), "`ekipl compare` and `ekipl report` write one")


def _teachers(_: Request) -> bytes:
    return _read(studies.teachers_file(), "`ekipl teach report` writes one")


def _read(path: Path, hint: str) -> bytes:
    if not path.is_file():
        raise DataError(f"There is no {path.name} beside the store; {hint}.")
    return path.read_bytes()


#: Name of the file -> what is in it.
FILES: dict[str, Callable[[Request], bytes]] = {
    "bundle.html": lambda request: exports.bundle([f"?{request.url.query}"]).encode(),
    "report.html": _report,
    "teachers.html": _teachers,
    "votes.jsonl": _votes,
    "preferences.parquet": lambda _: exports.as_parquet(exports.preference_rows()),
    "corrections.parquet": lambda _: exports.as_parquet(exports.correction_rows()),
    "chains.parquet": lambda request: exports.as_parquet(
        exports.chain_rows(request.query_params.get("run", ""))
    ),
}


def add_routes(app: FastAPI) -> None:
    """An address for every file; what cannot be made is one sentence with status 404."""
    for name in FILES:
        app.add_api_route(f"/export/{name}", _route(name), include_in_schema=False)


def _route(name: str) -> Callable[[Request], object]:
    async def answer(request: Request) -> Response:
        try:
            content = await run_in_threadpool(FILES[name], request)
        except EKIPLError as error:
            return PlainTextResponse(f"{said(error)}\n", 404)
        return Response(content, media_type=_KINDS[Path(name).suffix])

    return answer
