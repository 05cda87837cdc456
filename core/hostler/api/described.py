"""Answers in the OpenAPI page: which view each call gives. The schemas are made when somebody asks
for the page, since a daemon starts faster without them."""

from __future__ import annotations

from typing import Literal

from fastapi import FastAPI
from pydantic import TypeAdapter

from hostler.base.json_types import JsonTable

_REF = "#/components/schemas/{model}"
_Mode = Literal["validation", "serialization"]
_views: set[type] = set()


def gives(view: type, status: int = 200) -> dict[int | str, JsonTable]:
    """For `responses` of a route: it answers with this view."""
    _views.add(view)
    content: JsonTable = {
        "application/json": {"schema": {"$ref": _REF.format(model=view.__name__)}}
    }
    return {status: {"description": "Successful Response", "content": content}}


class DescribedApi(FastAPI):
    """An application whose OpenAPI page has the schemas of the views."""

    def openapi(self) -> JsonTable:
        """The page, made once."""
        is_new = self.openapi_schema is None
        page = super().openapi()
        if is_new:
            schemas = page["components"]["schemas"]
            asked: list[tuple[type, _Mode, TypeAdapter[object]]] = [
                (view, "serialization", TypeAdapter(view)) for view in _views
            ]
            made = TypeAdapter.json_schemas(asked, ref_template=_REF)[1]["$defs"]
            page["components"]["schemas"] = dict(sorted({**schemas, **made}.items()))
        return page
