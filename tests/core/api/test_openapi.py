"""Whatever is sent, the API answers with JSON of a documented kind, and never fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import hypothesis
import pytest
import schemathesis
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import response_schema_conformance

from tests.support.daemons.served import Served, served


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("openapi"), over_tcp=True) as running:
        yield running


def test_every_call_says_what_it_answers(daemon: Served) -> None:
    with urlopen(f"http://127.0.0.1:{daemon.port}/openapi.json", timeout=30) as answer:
        page = json.load(answer)
    schemas = page["components"]["schemas"]
    silent = {
        path
        for path, calls in page["paths"].items()
        for method, call in calls.items()
        if method != "head"
        and not any(_view_of(told) in schemas for told in call["responses"].values())
    }
    assert silent == {
        "/v1/events", "/v1/runs/{run_id}/events", "/v1/runs/{run_id}/logs/{stage}",
        "/v1/runs/{run_id}/files/{stage}/content",
    }  # fmt: skip
    assert schemas["StageUsage"]["properties"].keys() == {"attempts", "from", "step_s", "gpus"}
    assert schemas["RunDetail"]["properties"].keys() > {"schema", "run_id", "stages", "keep"}


def _view_of(answer: Any) -> str:
    """The name of what an answer has in it; of an error, none."""
    ref = answer.get("content", {}).get("application/json", {}).get("schema", {}).get("$ref", "")
    name = str(ref).rpartition("/")[2]
    return "" if name == "HTTPValidationError" else name


@pytest.mark.slow
@pytest.mark.timeout(400)  # some requests take the generator long, and the machine may be busy
def test_no_request_makes_the_daemon_fail(daemon: Served) -> None:
    whole = schemathesis.openapi.from_url(f"http://127.0.0.1:{daemon.port}/openapi.json")
    # Streams that follow never end by themselves, and shutting down would end the test.
    schema = whole.exclude(path_regex="(/events|/logs/|/shutdown)")
    tried = 0
    for result in schema.get_all_operations():
        assert isinstance(result, Ok), result
        _throw_at(result.ok())
        tried += 1
    assert tried >= 15


def _throw_at(operation: Any) -> None:
    @hypothesis.settings(
        max_examples=5,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy())
    def throw(case: Any) -> None:
        response = case.call(timeout=20)
        assert response.status_code < 500, (case.as_curl_command(), response.text)
        if response.status_code >= 400 and case.method != "HEAD":
            assert set(response.json()) == {"error"}
        case.validate_response(response, checks=[response_schema_conformance])

    throw()
