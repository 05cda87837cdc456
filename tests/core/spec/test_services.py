"""Services, as pipeline.toml writes them."""

from __future__ import annotations

import pytest

from hostler.base.errors import PipelineError
from hostler.model.pipelines import OnLost, Pipeline
from hostler.model.services import HealthCheck, Request
from hostler.spec.pipeline import read_pipeline


def _read(text: str) -> Pipeline:
    return read_pipeline(f'name = "p"\n{text}', file="pipeline.toml")


def _problems(text: str) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        _read(text)
    return [f"{p.path}: {p.message} ({p.hint})" for p in caught.value.problems]


SERVE = '[stages.serve]\nkind = "service"\ncommand = "serve"\n'


def test_replicas_are_stages_and_what_needs_the_service_needs_them_all() -> None:
    made = _read(
        f'{SERVE}health = "/ready"\nreplicas = "{{params.n}}"\nlost_after = "1m"\n'
        '[stages.load]\ncommand = "x"\nneeds = ["serve"]\n[params]\nn = 2\n'
    )
    first, second, load = made.stages
    assert [first.name, second.name] == ["serve.0", "serve.1"]
    assert first.base == second.base == "serve"
    assert load.needs == ("serve.0", "serve.1")
    assert first.service is not None
    assert first.service.health == HealthCheck(path="/ready")
    assert (first.on_lost, first.lost_after, first.keep) == (OnLost.RESTART, 60.0, ())


def test_a_single_replica_has_a_number_too() -> None:
    made = _read(f'{SERVE}health = "tcp"\n[stages.load]\ncommand = "x"\nneeds = ["serve"]\n')
    serve, load = made.stages
    assert (serve.name, load.needs) == ("serve.0", ("serve.0",))
    assert serve.service is not None
    assert serve.service.health.path is None


def test_a_service_in_a_container_with_all_its_keys() -> None:
    made = _read(
        f'{SERVE}image = "web:1"\nport = 8000\nstartup = "90s"\n'
        'health = { path = "/h", method = "POST", body = \'{"x": [1]}\', headers = { X-A = "b" }, '
        'status = [200, 204], timeout = "1s", every = "3s", patience = "1m" }\n'
        'warmup = { path = "/predict", timeout = "5m" }\nresources = { gpus = 1 }\n'
    )
    service = made.stages[0].service
    assert service is not None
    assert (service.port, service.startup) == (8000, 90.0)
    assert service.health == HealthCheck(
        "/h", "POST", '{"x": [1]}', {"X-A": "b"}, (200, 204), 1.0, every=3.0, patience=60.0
    )
    assert service.warmup == Request("/predict", timeout=300.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a service needs `health` (like health ="),
        ('health = "ready"', "should be a path like '/health'"),
        ('health = "/a b"', "should be a path like '/health'"),
        ('health = "/h"\nimage = "web:1"', "needs `port`, on which it listens there"),
        ('health = "/h"\nport = 80', "is for containers: a process gets a free port"),
        ('health = "/h"\nreplicas = 0', "replicas"),
        ('health = "/h"\nreplicas = 65', "replicas"),
        ('health = "/h"\ntimeout = "1h"', "means nothing for a service: remove it"),
        ('health = "/h"\nmatrix = { a = [1, 2] }', "means nothing for a service: remove it"),
        ('health = "/h"\noutputs = { a = "a" }', "means nothing for a service: remove it"),
        ('health = { path = "/h", headers = { "A B" = "c" } }', "not the name of a header"),
        ('health = { path = "/h", headers = { A = "b\\r\\nC: d" } }', "one line in ASCII"),
        ('health = { path = "/h", headers = { Content-Length = "5" } }', "is set by Hostler"),
        ('health = { path = "/h", method = "CONNECT" }', "method"),
        ('health = { path = "/h", status = 99 }', "should be a status of HTTP"),
        ('health = "/h"\nwarmup = { method = "POST" }', "needs `path`"),
    ],
)
def test_what_a_service_cannot_be(text: str, said: str) -> None:
    assert any(said in problem for problem in _problems(SERVE + text)), _problems(SERVE + text)


def test_other_stages_have_none_of_its_keys() -> None:
    text = '[stages.train]\ncommand = "x"\nreplicas = 2\nhealth = "/h"\n'
    assert [p.partition(": ")[2] for p in _problems(text)] == [
        'is for services (add kind = "service")',
        'is for services (add kind = "service")',
    ]
