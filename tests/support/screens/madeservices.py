"""Services that were made up for pictures and tests of the deployments screen."""

from __future__ import annotations

from typing import Any

from hostler.model.views.services import ReleaseView, ReplicaView, ServiceView
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


RELEASES = {
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
            replica("serve.3", gpus=("GPU-gpu-01-3",)), wanted=1, url=f"{URL}llm-chat/"),
    service("r9embed0", "embed", replica("serve", host="gpu-02"), owner="bo",
            since=NOW - 21 * DAY, url=f"{URL}embed/"),
    service("r7tts000", "tts",
            replica("serve", "waiting", None, since=None, restarts=4,
                    error="exit code 1: RuntimeError: no speakers in model.onnx"),
            state="failing", restarts=4,
            error="exit code 1: RuntimeError: no speakers in model.onnx"),
    service("r4chat00", "llm-chat",
            *(replica(f"serve.{n}", since=NOW - 100 + 20 * n, gpus=(f"GPU-gpu-01-{n}",))
              for n in range(2)),
            replica("serve.2", "starting", since=NOW - 22, gpus=("GPU-gpu-01-2",)),
            state="degraded", wanted=3, since=NOW - 100),
    service("r5ocr000", "ocr",
            replica("serve", "unknown", "gpu-03", since=NOW - 9 * DAY), state="starting",
            owner="mallory", no_url="none of its replicas is on gpu-01, where the gateway runs"),
)  # fmt: skip
SERVICES: tuple[Service, ...] = grouped(VIEWS, RELEASES)
