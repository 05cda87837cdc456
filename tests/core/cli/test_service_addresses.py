"""What people read of the addresses of services."""

from __future__ import annotations

from hostler.cli.commands.services import reach_lines
from hostler.model.views.services import DeployView, ServiceView
from hostler.show.releases import deploy_lines
from hostler_tui.deploy.rows import address_text
from hostler_tui.services import Service


def _service(url: str | None, on: str | None = "gpu1") -> ServiceView:
    return ServiceView(name="serve", run_id="r1", url=url, url_on=on)


def test_a_gateway_on_loopback_is_reached_by_a_tunnel_to_each_of_its_ports() -> None:
    urls = ("http://127.0.0.1:8080/a/", "http://127.0.0.1:8101/", "http://a.example:8080/", None)
    assert reach_lines(map(_service, urls)) == [
        "the gateway is on 127.0.0.1 of gpu1; from elsewhere: ssh -L 8080:127.0.0.1:8080 "
        "-L 8101:127.0.0.1:8101 gpu1",
        "there, map these names to 127.0.0.1 in /etc/hosts: a.example",
    ]
    assert reach_lines([_service("https://gpu1.lab:8080/a/", None), _service(None)]) == []


def test_a_plan_says_where_it_will_be_served() -> None:
    plan = DeployView("web", how="at once", takes_s=3.0, url="http://127.0.0.1:8101/")
    assert deploy_lines(plan) == [
        "web is new", "at once", "served at http://127.0.0.1:8101/",
        "about 3s in all, by the last start",
    ]  # fmt: skip


def test_a_narrow_screen_shows_the_part_of_an_address_that_tells_it_apart() -> None:
    for url, narrow in (
        ("http://127.0.0.1:8080/a/", "/a/"), ("http://127.0.0.1:8101/", "127.0.0.1:8101"),
        ("https://a.example:8443/", "a.example:8443"),
    ):  # fmt: skip
        one = Service("serve", "serve", (_service(url),))
        assert (address_text(one), address_text(one, is_narrow=True)) == (url, narrow)
