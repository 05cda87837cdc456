"""The modes `serve` and `once`: first the spawner, then everything else."""

from __future__ import annotations

import os

from hostler_agent import wire
from hostler_agent.folders import Folders, Refusal
from hostler_agent.generations import Generations
from hostler_agent.json_values import Message
from hostler_agent.single_instance import displace
from hostler_agent.spawner import Spawner


def run(mode: Message, version: str, folders: Folders) -> None:
    """Serve until EOF or silence; with mode "once" answer one look and end."""
    folders.make()
    daemon = mode.get("daemon")
    spawner = generations = None
    if mode["mode"] == "serve":
        # Before anything is opened or loaded: what it inherits, every job inherits.
        spawner = Spawner(folders)
    try:
        folders.hold()
        if spawner is not None:
            generations = Generations(folders, daemon, mode.get("generation"))
            generations.admit()
            displace(folders, daemon)
            generations.take()
        from hostler_agent.agent import Agent

        agent = Agent(version, folders, spawner, str(daemon or ""), generations)
        if spawner is not None:
            agent.serve()
        else:
            agent.once()
    except Refusal as refusal:
        os.write(1, wire.encode({"error": refusal.to_wire()}))
    except BrokenPipeError:
        pass  # the daemon has gone; jobs go on
    finally:
        if spawner is not None:
            spawner.close()
