"""The table of actions says the truth: each is carried out, each command exists."""

from __future__ import annotations

import importlib
import shlex

import pytest

from hostler.cli.parser import load, parse, table
from hostler_tui.actions import ACTIONS, EVERYWHERE, Action
from hostler_tui.app import HostlerApp
from hostler_tui.screen_actions import SCREEN_ACTIONS

TABLE = (*SCREEN_ACTIONS, *ACTIONS)
ABOVE = {"compare": ("compare", "CompareScreen"), "host": ("host", "HostScreen")}
"""Screens that are no mode."""


def screen(name: str) -> object:
    if name in ABOVE:
        module, kind = ABOVE[name]
        return getattr(importlib.import_module(f"hostler_tui.{module}.screen"), kind)
    return HostlerApp.MAIN_SCREENS[name]()


@pytest.mark.parametrize("action", TABLE, ids=lambda action: action.name)
def test_each_is_carried_out_by_its_screen_or_the_app(action: Action) -> None:
    for name in action.screens:
        own = name != EVERYWHERE and hasattr(screen(name), f"action_{action.method}")
        assert own or hasattr(HostlerApp, f"action_{action.method}")


@pytest.mark.parametrize("action", TABLE, ids=lambda action: action.name)
def test_no_key_means_two_things_on_one_screen(action: Action) -> None:
    for name in action.screens:
        others = [other for other in TABLE if name in other.screens and other is not action]
        assert not {key for other in others for key in other.keys} & set(action.keys)


@pytest.mark.parametrize("action", [a for a in TABLE if a.command], ids=lambda a: a.name)
def test_each_command_can_be_typed(action: Action) -> None:
    words = shlex.split(action.command.replace("{id}", "7" if "alerts" in action.command else "r1"))
    assert words[0] == "hostler"
    assert words[1] in table()
    parse(words[1], load(words[1]), words[2:])
