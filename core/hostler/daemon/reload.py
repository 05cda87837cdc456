"""Following the config file: a change takes effect at once, a wrong one changes nothing."""

from __future__ import annotations

import asyncio
import logging

from hostler.base.errors import ConfigError, StateError
from hostler.daemon.config_file import ConfigFiles
from hostler.daemon.context import Context
from hostler.daemon.fleet import Fleet
from hostler.model.events import EventKind

_log = logging.getLogger("hostler.daemon")


class Reloader:
    """Looks at the config files every second; they are small, and may lie where no watch works."""

    def __init__(self, context: Context, fleet: Fleet, files: ConfigFiles) -> None:
        self._context = context
        self._fleet = fleet
        self._files = files
        self._wanted = False
        """The files have changed, and what they say is not used yet."""

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            await asyncio.sleep(self._context.timings.reload_every)
            if self._files.has_changed():
                self._wanted = True
            if self._wanted:
                await self._try_reload()

    async def _try_reload(self) -> None:
        """Tried again where the state cannot be written just now; no failure ends the daemon."""
        try:
            await self.reload()
            self._wanted = False
        except StateError as error:
            _log.error("the changed config is not used yet: %s", error)
        except Exception:
            self._wanted = False
            _log.exception("reloading failed: this is a bug in Hostler, please report it")

    async def reload(self) -> None:
        """Read the config again and go over to it, or say why not."""
        context = self._context
        try:
            config = self._files.load()
            await self._fleet.apply(config)
        except ConfigError as error:
            problems = "; ".join(str(problem) for problem in error.untold)
            message = f"the changed config is not used: {error} {problems}".rstrip()
            _log.warning("%s", message)
            await context.tell(context.event(EventKind.CONFIG_REFUSED, message, severity="error"))
            return
        count = len(config.hosts)
        message = f"the changed config is used: {count} host{'' if count == 1 else 's'}"
        _log.info("%s", message)
        await context.tell(context.event(EventKind.CONFIG_LOADED, message))
