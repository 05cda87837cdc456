"""Services that were made up for pictures and tests of the deployments screen."""

from __future__ import annotations

import math
from typing import Any

from hostler.model.views.services import ReleaseView, ReplicaView, ServiceView
from hostler.model.views.traffic import ReleaseTraffic, TrafficHistory, TrafficView
from hostler_tui.services import Service, grouped
from tests.support.values.fleets import NOW

DAY = 86400.0
URL = "http://127.0.0.1:8080/"


def replica(
    name: str, state: str = "ready", host: str | None = "gpu-01", **more: Any
) -> ReplicaView:
    made: dict[str, Any] = {"port": 20413 if state == "ready" else None, "since": NOW - 4 * DAY}
    return ReplicaView(name=name, state=state, host=host, **made | more)


def service(run_id: str, pipeline: str, *replicas: ReplicaView, **more: Any) -> ServiceView:
    ready = sum(each.state == "ready" for each in replicas)
    made: dict[str, Any] = {"name": "serve", "owner": "ana", "state": "ready", "ready": ready,
            "wanted": len(replicas), "since": NOW - 4 * DAY}  # fmt: skip
    return ServiceView(run_id=run_id, pipeline=pipeline, replicas=replicas, **made | more)


def release(number: int, state: str, age: float = DAY, **more: Any) -> ReleaseView:
    made: dict[str, Any] = {"strategy": "surge", "replicas": 4, "by": "ana", "at": NOW - age,
            "changed_at": NOW - age, "replaces": number - 1 or None}  # fmt: skip
    is_open = state in ("delivering", "starting", "ready", "shifting", "failed")
    return ReleaseView(
        "llm-chat", number, f"r{number}chat00", state, is_open=is_open, **made | more
    )


STOPPED = service("r2asr000", "asr", state="stopped", stopped="it was stopped",
                  since=NOW - 3 * 3600)  # fmt: skip
"""Nothing of it runs, and it has releases."""
RELEASES = {
    "asr": tuple(
        ReleaseView("asr", number, f"r{number}asr000", state, "surge", 1, "bo", NOW - 9 * DAY,
                    NOW - 9 * DAY)
        for number, state in ((2, "live"), (1, "retired"))
    ),
    "llm-chat": (
        release(4, "shifting", 140.0, reason="serve.2 waits for the gateway's first check of it"),
        release(3, "live", 4 * DAY),
        release(2, "restored", 6 * DAY, by="bo", reason="serve.0 failed three times in a row"),
        release(1, "retired", 12 * DAY),
    ),
    "embed": (ReleaseView("embed", 9, "r9embed0", "live", "recreate", 1, "bo", NOW - 21 * DAY,
                          NOW - 21 * DAY),),
}  # fmt: skip
VIEWS = (
    service("r3chat00", "llm-chat",
            replica("serve.3", gpus=("GPU-gpu-01-3",)), wanted=1, url=f"{URL}llm-chat/",
            traffic=TrafficView(requests=180, failed=2, per_second=3.0, p50_ms=190.0,
                                p95_ms=431.0)),
    service("r9embed0", "embed", replica("serve", host="gpu-02"), owner="bo",
            since=NOW - 21 * DAY, url=f"{URL}embed/",
            traffic=TrafficView(requests=12600, per_second=210.5, p50_ms=6.0, p95_ms=12.0)),
    service("r7tts000", "tts",
            replica("serve", "waiting", None, since=None, restarts=4,
                    error="exit code 1: RuntimeError: no speakers in model.onnx"),
            state="failing", restarts=4,
            error="exit code 1: RuntimeError: no speakers in model.onnx"),
    service("r4chat00", "llm-chat",
            *(replica(f"serve.{n}", since=NOW - 100 + 20 * n, gpus=(f"GPU-gpu-01-{n}",))
              for n in range(2)),
            replica("serve.2", "starting", since=NOW - 22, gpus=("GPU-gpu-01-2",)),
            state="degraded", wanted=3, since=NOW - 100,
            traffic=TrafficView(requests=310, per_second=5.2, p50_ms=185.0, p95_ms=402.0)),
    service("r5ocr000", "ocr",
            replica("serve", "unknown", "gpu-03", since=NOW - 9 * DAY), state="starting",
            owner="mallory", no_url="none of its replicas is on gpu-01, where the gateway runs"),
)  # fmt: skip
_LOADS = [8.0 + 3 * math.sin(n / 6) for n in range(60)]
TRAFFIC = {
    "llm-chat": TrafficHistory(
        service="llm-chat", begin=NOW - 3600, step_s=60.0,
        releases=(
            ReleaseTraffic(run_id="r4chat00", number=4,
                           requests=(*[None] * 55, 1.0, 2.0, 3.0, 4.0, 5.0),
                           failed=(*[None] * 55, 0.0, 0.0, 0.1, 0.0, 0.0),
                           p95_ms=(*[None] * 55, 400.0, 402.0, 398.0, 405.0, 402.0)),
            ReleaseTraffic(run_id="r3chat00", number=3,
                           requests=(*_LOADS[:55], 7.0, 6.0, 5.0, 4.0, 3.0),
                           failed=tuple(0.05 if n == 30 else 0.0 for n in range(60)),
                           p95_ms=tuple(420.0 + 20 * math.sin(n) for n in range(60))),
        ),
    ),
    "embed": TrafficHistory(
        service="embed", begin=NOW - 3600, step_s=60.0,
        releases=(ReleaseTraffic(run_id="r9embed0", number=9,
                                 requests=tuple(210.0 + n for n in range(60)),
                                 failed=(0.0,) * 60, p95_ms=(12.0,) * 60),),
    ),
}  # fmt: skip
SERVICES: tuple[Service, ...] = grouped(VIEWS, RELEASES)
