"""Every key of config.toml has a test that shows what it does, not only that it is read.

A new key fails here until its test is named below.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from hostler.base.keys import keys_of, toml_key
from hostler.base.value_kinds import SWITCH
from hostler.model.config import Config

ROOT = Path(__file__).parents[3]

_REAL = "tests/core/cli/test_config_keys.py"
_SIM = "tests/core/daemon/test_config_keys_on_sim.py"
_FETCH = "tests/core/wheels/test_fetch.py"
_GATE = "tests/e2e/test_gateway_alone.py"
_SOCKET = "tests/core/api/test_socket.py"

SHOWN_BY = {
    "hosts.transport": f"{_REAL}::test_transport_local_is_this_machine_without_ssh",
    "hosts.address": f"{_REAL}::test_address_port_user_and_key_lead_to_the_host",
    "hosts.port": f"{_REAL}::test_address_port_user_and_key_lead_to_the_host",
    "hosts.user": f"{_REAL}::test_address_port_user_and_key_lead_to_the_host",
    "hosts.key": f"{_REAL}::test_address_port_user_and_key_lead_to_the_host",
    "hosts.jump": f"{_REAL}::test_jump_goes_through_another_host",
    "hosts.python": f"{_REAL}::test_python_runs_the_agent",
    "hosts.docker_socket": f"{_REAL}::test_docker_socket_is_the_engine_that_is_asked",
    "hosts.labels": f"{_SIM}::test_labels_send_a_stage_to_the_host_that_has_them",
    "hosts.cpus": f"{_SIM}::test_what_a_host_may_be_planned_with",
    "hosts.ram": f"{_SIM}::test_what_a_host_may_be_planned_with",
    "hosts.runtimes": f"{_SIM}::test_only_the_runtimes_named_are_used",
    "hosts.env": f"{_SIM}::test_variables_of_the_lab_and_of_a_host_reach_a_stage",
    "daemon.state": f"{_REAL}::test_state_and_socket_are_where_the_daemon_and_its_clients_meet",
    "daemon.socket": f"{_REAL}::test_state_and_socket_are_where_the_daemon_and_its_clients_meet",
    "daemon.group": f"{_SOCKET}::test_a_member_of_the_group_in_the_config_is_served",
    "daemon.allow": f"{_SOCKET}::test_a_user_named_in_the_config_is_served",
    "daemon.operators": "tests/core/api/test_operators.py::"
    "test_what_concerns_everybody_is_for_the_owner_and_operators",
    "daemon.look_interval": f"{_SIM}::test_look_interval_is_the_pause_between_looks",
    "daemon.look_timeout": f"{_SIM}::test_a_look_that_takes_longer_than_look_timeout_is_given_up",
    "daemon.connect_timeout": "tests/core/cli/test_connect_timeout.py::"
    "test_the_daemon_gives_up_after_it_and_takes_over_another",
    "policy.fresh_for": f"{_SIM}::test_a_host_that_was_seen_longer_ago_than_fresh_for_gets_nothing",
    "policy.memory_floor": f"{_SIM}::test_memory_floor_is_what_a_free_gpu_may_have_in_use",
    "policy.ignore": f"{_SIM}::test_programs_to_ignore_may_sit_on_a_free_gpu",
    "policy.release_patience": f"{_SIM}::test_release_patience_is_how_long_memory_may_stay",
    "policy.strays": "tests/core/daemon/test_strays_on_sim.py::"
    "test_told_only_it_runs_on_and_the_alert_ends_with_it",
    "policy.processes": "tests/core/daemon/test_trust_on_sim.py::"
    "test_processes_of_members_take_no_secrets",
    "limits.source_size": f"{_REAL}::test_limits_of_the_source_are_those_of_the_config",
    "limits.source_file": f"{_REAL}::test_limits_of_the_source_are_those_of_the_config",
    "limits.output_size": f"{_SIM}::test_an_output_beyond_output_size_fails_its_stage",
    "limits.log_size": f"{_SIM}::test_a_log_keeps_its_newest_part_up_to_log_size",
    "limits.keep_logs": f"{_SIM}::test_how_long_things_of_a_run_are_kept",
    "limits.keep_outputs": f"{_SIM}::test_how_long_things_of_a_run_are_kept",
    "limits.keep_sources": f"{_SIM}::test_sources_go_after_keep_sources",
    "limits.keep_history": f"{_SIM}::test_how_long_things_of_a_run_are_kept",
    "limits.images": f"{_SIM}::test_images_beyond_the_limit_go_the_least_recently_used_first",
    "limits.host_cache": f"{_SIM}::test_hosts_are_told_how_large_their_cache_may_be",
    "limits.kept_files": "tests/core/daemon/test_collecting_on_sim.py::"
    "test_what_is_over_the_budget_stays_on_its_host",
    "limits.keep_jobs": "tests/core/daemon/test_expiry_on_sim.py::"
    "test_a_longer_keep_jobs_counts_for_what_stays_already",
    "limits.kept_on_host": "tests/core/daemon/test_kept_budgets_on_sim.py::"
    "test_a_host_that_keeps_more_than_kept_on_host_gets_no_stage_that_keeps_files",
    "limits.kept_in_store": "tests/core/daemon/test_kept_budgets_on_sim.py::"
    "test_a_store_with_more_than_kept_in_store_holds_stages_that_keep_files",
    "mounts.path": f"{_SIM}::test_mounts_have_their_path_and_mode_and_default",
    "mounts.mode": f"{_SIM}::test_mounts_have_their_path_and_mode_and_default",
    "mounts.default": f"{_SIM}::test_mounts_have_their_path_and_mode_and_default",
    "shared.paths": f"{_SIM}::test_a_folder_that_hosts_share_is_used_in_place_where_it_is_shared",
    "docker.network": f"{_SIM}::test_containers_are_made_in_the_docker_network",
    "docker.builds": "tests/core/daemon/test_builds_on_sim.py"
    "::test_a_shared_daemon_builds_only_where_its_owner_says_so",
    "docker.deliver_from": "tests/core/daemon/test_image_offers.py"
    "::test_by_a_name_alone_images_come_from_trusted_hosts_only",
    "docker.shm": f"{_SIM}::test_containers_get_the_shared_memory_of_the_config",
    "packages.index": f"{_FETCH}::test_for_the_python_and_platform_of_the_host",
    "packages.wheels": f"{_FETCH}::test_a_folder_does_instead",
    "packages.hosts": "tests/core/cli/test_packages_check.py::test_hosts_are_those_that_are_named",
    "packages.size": f"{_FETCH}::test_too_many_bytes_and_too_long",
    "packages.cache": f"{_FETCH}::test_for_the_python_and_platform_of_the_host",
    "hosts.lan_address": "tests/core/runtimes/test_publish.py::"
    "test_a_container_is_published_at_one_address",
    "hosts.reach": "tests/core/decide/test_reach.py::"
    "test_a_service_that_may_be_on_a_host_that_is_not_reached_is_not_served",
    "gateway.host": f"{_GATE}::test_a_service_is_reached_with_a_token_also_without_the_daemon",
    "gateway.port": f"{_GATE}::test_a_service_is_reached_with_a_token_also_without_the_daemon",
    "gateway.tokens": f"{_GATE}::test_a_service_is_reached_with_a_token_also_without_the_daemon",
    "gateway.bind": "tests/core/decide/test_routes.py::"
    "test_tokens_are_asked_for_where_other_machines_reach_it",
    "gateway.hosts": "tests/core/decide/test_addresses.py::"
    "test_a_shared_daemon_gives_what_its_owner_lists",
    "gateway.ports": "tests/core/decide/test_addresses.py::"
    "test_a_shared_daemon_gives_what_its_owner_lists",
    "gateway.insecure": "tests/core/decide/test_routes.py::"
    "test_tokens_are_asked_for_where_other_machines_reach_it",
    "gateway.tls_cert": "tests/core/gateway/test_real_haproxy.py::test_tls",
    "gateway.haproxy": "tests/core/gateway/test_real_haproxy.py::"
    "test_no_haproxy_is_said_with_the_way_to_get_it",
    "slurm.partitions": "tests/core/submit/test_batch.py::"
    "test_partitions_and_features_are_labels_of_the_daemons_config",
    "slurm.features": "tests/core/submit/test_batch.py::"
    "test_partitions_and_features_are_labels_of_the_daemons_config",
    "env": f"{_SIM}::test_variables_of_the_lab_and_of_a_host_reach_a_stage",
}


def all_paths(table: type, prefix: str = "") -> set[str]:
    """Every key by its path, tables by name without the name: "hosts.port"."""
    found: set[str] = set()
    for name, key in keys_of(table).items():
        for inner in key.kind.tables:
            found |= all_paths(inner, f"{prefix}{name}.")
        if not key.kind.tables:
            found.add(prefix + name)
    return found


def test_every_key_has_a_test_of_what_it_does() -> None:
    assert set(SHOWN_BY) == all_paths(Config)


@pytest.mark.parametrize("named", sorted(set(SHOWN_BY.values())))
def test_every_named_test_is_there(named: str) -> None:
    path, _, function = named.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert function in {getattr(node, "name", "") for node in tree.body}


def test_a_new_key_is_noticed() -> None:
    @dataclass(frozen=True)
    class More(Config):
        novelty: bool = field(default=False, metadata=toml_key(SWITCH, "New."))

    assert all_paths(More) - set(SHOWN_BY) == {"novelty"}
