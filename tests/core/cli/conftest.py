from __future__ import annotations

from tests.support.daemons import cli_fixtures

globals().update(
    _own_places=cli_fixtures._own_places,
    daemon=cli_fixtures.daemon,
    hostler=cli_fixtures.hostler,
    terminal=cli_fixtures.terminal,
)
