from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.lab import Lab
from tests.support.machines import labfixture
from tests.support.machines.desk import Desk, desk_folder, local_desk

globals().update(lab=labfixture.lab, clean_lab=labfixture.clean_lab)


def _hosts(request: pytest.FixtureRequest) -> tuple[str, ...]:
    mark = request.node.get_closest_marker("hosts")
    return mark.args if mark else ()


@pytest.fixture
def desk(request: pytest.FixtureRequest, clean_lab: Lab) -> Iterator[Desk]:
    """Ana's desk at a lab in its first state; see the marker `hosts`."""
    with desk_folder() as folder:
        person = Desk.at_lab(clean_lab, folder, hosts=_hosts(request))
        yield person
        person.close()


@pytest.fixture(scope="module")
def shared_desk(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Desk]:
    """Ana's desk at a lab in its first state, for all tests of a file that break nothing there; see
    the marker `hosts`."""
    lab.reset()
    with desk_folder() as folder:
        person = Desk.at_lab(lab, folder, hosts=_hosts(request))
        yield person
        person.close()


@pytest.fixture(scope="module")
def shared_alone() -> Iterator[Desk]:
    """As `alone`, for all tests of a file that neither stop the daemon nor change the config."""
    with desk_folder() as folder:
        person = local_desk(folder)
        yield person
        person.close()


@pytest.fixture
def alone() -> Iterator[Desk]:
    """Somebody with this machine only, no SSH."""
    with desk_folder() as folder:
        person = local_desk(folder)
        yield person
        person.close()
