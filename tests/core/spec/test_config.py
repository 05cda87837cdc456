"""config.toml: hosts and their ranges, files over files, and what is refused."""

from __future__ import annotations

import pytest

from hostler.base.errors import ConfigError, Problem
from hostler.base.units import GIB, expand_hosts
from hostler.model.config import Config, HostConfig, MountConfig
from hostler.spec.config import read_config, read_configs


def problems(text: str) -> list[Problem]:
    with pytest.raises(ConfigError) as caught:
        read_config(text, file="config.toml")
    return list(caught.value.problems)


def test_no_file_is_this_machine() -> None:
    for config in (read_configs([]), read_config("", file="x"), Config()):
        assert config == Config()
        assert config.hosts == (HostConfig(name="local", transport="local"),)


def test_hosts_ranges_and_exceptions() -> None:
    config = read_config(
        """
        [hosts.login]
        [hosts."gpu[01-03]"]
        address = "{name}.lab"
        user = "lab"
        labels = { room = "b12" }
        ram = "64GiB"
        [hosts.gpu02]
        user = "alice"
        runtimes = "process"
        env = { HF_HOME = "/scratch" }
        [hosts.me]
        transport = "local"
        [env]
        HF_HOME = "/nfs"
        THREADS = 4
        """,
        file="c",
    )
    assert [host.name for host in config.hosts] == ["login", "gpu01", "gpu02", "gpu03", "me"]
    login, one, two, _, me = config.hosts
    assert login == HostConfig("login")
    assert (one.target, one.user, one.labels) == ("gpu01.lab", "lab", {"room": "b12"})
    assert (two.target, two.user, two.runtimes) == ("gpu02.lab", "alice", ("process",))
    assert two.ram == 64 * GIB
    assert me.transport == "local"
    assert config.env_of("gpu02") == {"HF_HOME": "/scratch", "THREADS": "4"}
    assert config.env_of("gpu01") == {"HF_HOME": "/nfs", "THREADS": "4"}
    assert config.host("nobody") is None


def test_sections() -> None:
    config = read_config(
        """
        [daemon]
        state = "~/x"
        look_interval = "500ms"
        allow = ["bob"]
        [policy]
        memory_floor = "600MiB"
        ignore = []
        [limits]
        keep_history = "365d"
        host_cache = "1TiB"
        kept_files = "1GiB"
        keep_jobs = "3d"
        kept_on_host = "9GiB"
        kept_in_store = "2TiB"
        [mounts]
        data = { path = "/data/", default = true }
        out = { path = "/out", mode = "rw" }
        [shared]
        paths = ["/nfs", "/nfs/", "/lustre"]
        [docker]
        network = "host"
        shm = "2GiB"
        """,
        file="c",
    )
    assert (config.daemon.state, config.daemon.look_interval) == ("~/x", 0.5)
    assert config.daemon.allow == ("bob",)
    assert (config.policy.memory_floor, config.policy.ignore) == (600 * 1024**2, ())
    assert (config.limits.keep_history, config.limits.host_cache) == (365 * 86400.0, 1024 * GIB)
    limits = config.limits
    assert (limits.kept_files, limits.keep_jobs) == (GIB, 3 * 86400.0)
    assert (limits.kept_on_host, limits.kept_in_store) == (9 * GIB, 2048 * GIB)
    assert config.mounts == (
        MountConfig("data", "/data", True, True),
        MountConfig("out", "/out", False, False),
    )
    assert config.shared.paths == ("/nfs", "/lustre")
    assert (config.docker.network, config.docker.shm) == ("host", 2 * GIB)


def test_a_persons_file_wins_key_by_key() -> None:
    system = '[hosts.a]\n[hosts.b]\nuser="x"\n[daemon]\nstate="/s"\ngroup="lab"\n[env]\nA="1"'
    own = '[hosts.b]\nuser="y"\n[hosts.c]\n[daemon]\ngroup="mine"\n[env]\nB="2"'
    config = read_configs([("system", system), ("own", own)])
    users = {host.name: host.user for host in config.hosts}
    assert list(users.items()) == [("a", None), ("b", "y"), ("c", None)]
    assert (config.daemon.state, config.daemon.group) == ("/s", "mine")
    assert config.env == {"A": "1", "B": "2"}


def test_problems_name_their_own_file() -> None:
    with pytest.raises(ConfigError) as caught:
        read_configs([("good.toml", "[hosts.a]"), ("bad.toml", "\n[host.b]")])
    assert "bad.toml" in str(caught.value)
    assert caught.value.problems[0].line == 2
    with pytest.raises(ConfigError) as caught:
        read_configs([("one", '[hosts."g[1-3]"]'), ("two", '[hosts."g[3-4]"]')])
    assert "one and two" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        ("[host.a]", "host", "did you mean 'hosts'?"),
        ("[hosts]\nx = 1", "hosts.x", "a table"),
        ("hosts = 1", "hosts", "a table"),
        ('[hosts."a b"]', 'hosts."a b"', "cannot name a host"),
        ('[hosts."-a"]', "hosts.-a", "cannot name a host"),
        ('[hosts."g[x]"]', 'hosts."g[x]"', "not a range"),
        ('[hosts."g[1-2]"]\n[hosts."g[2-3]"]', 'hosts."g[2-3]"', "has g2"),
        ("[hosts.a]\nport = 0", "hosts.a.port", "from 1 to 65535"),
        ("[hosts.a]\nprot = 1", "hosts.a.prot", "'port'"),
        ("[hosts.a]\ngpus = [1]", "hosts.a.gpus", "not supported yet"),
        ('[hosts.a]\npassword = "x"', "hosts.a.password", "not supported"),
        ('[hosts.a]\naddress = "-oProxyCommand=x"', "hosts.a.address", "not start with -"),
        ('[hosts.a]\njump = "-oX"', "hosts.a.jump", "not start with -"),
        ('[hosts.a]\nuser = "a b"', "hosts.a.user", "no spaces"),
        ('[hosts.a]\npython = "x; rm -rf"', "hosts.a.python", "should be like"),
        ('[hosts.a]\nkey = "id"', "hosts.a.key", "start with / or ~/"),
        ('[hosts.a]\ntransport = "tcp"', "hosts.a.transport", "ssh, local"),
        ('[hosts.a]\nruntimes = ["slurm"]', "hosts.a.runtimes", "docker or process"),
        ('[daemon]\nlisten = ":80"', "daemon.listen", "Unix socket"),
        ("[daemon]\nlook_interval = 2", "daemon.look_interval", "in quotes"),
        ('[mounts.x]\npath = "data"', "mounts.x.path", "absolute"),
        ('[mounts.x]\npath = "/a"\nmode = "x"', "mounts.x.mode", "ro, rw"),
        ("[mounts.x]", "mounts.x.path", "is missing"),
        ('[shared]\npaths = ["a"]', "shared.paths[0]", "absolute"),
        ("[gateway]\nport = 80", "gateway.port", "from 1024 to 65535"),
        ('[gateway]\ntls_cert = "x.pem"', "gateway.tls_cert", "absolute"),
        ('[hosts.a]\nreach = "wan"', "hosts.a.reach", "lan"),
        ('[hosts.a]\nlan_address = "a.b"', "hosts.a.lan_address", "IP address"),
        ('[hosts.a]\nlan_address = "0.0.0.0"', "hosts.a.lan_address", "own address"),
        ("[quotas]", "quotas", "the user with the fewest GPUs goes first, then the oldest run"),
        ("[fairness]", "fairness", "the user with the fewest GPUs goes first, then the oldest run"),
        ('[limits]\nkeep_logs = "forever"', "limits.keep_logs", "not a duration"),
        ('[env]\n"a b" = "1"', "env", "not a variable name"),
    ],
)
def test_one_wrong_thing(text: str, path: str, said: str) -> None:
    found = problems(text)
    assert [problem.path for problem in found] == [path]
    assert said in str(found[0])
    assert found[0].line is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[hosts.a]\nreach = "lan"', "needs the IP address"),
        (
            '[hosts."a[1-2]"]\nreach = "lan"\nlan_address = "10.0.0.2"',
            "a2 has the lan_address of a1",
        ),
    ],
)
def test_each_host_that_publishes_services_has_an_address_of_its_own(text: str, said: str) -> None:
    assert said in str(problems(text)[0])


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("gpu1", ["gpu1"]),
        ("gpu[1-3]", ["gpu1", "gpu2", "gpu3"]),
        ("gpu[08-11]", ["gpu08", "gpu09", "gpu10", "gpu11"]),
        ("gpu[1,3-4].lab", ["gpu1.lab", "gpu3.lab", "gpu4.lab"]),
        ("r[1-2]n[01-02]", ["r1n01", "r1n02", "r2n01", "r2n02"]),
        ("gpu[7]", ["gpu7"]),
    ],
)
def test_ranges(pattern: str, names: list[str]) -> None:
    assert list(expand_hosts(pattern)) == names


@pytest.mark.parametrize(
    "pattern",
    ["g[", "g]", "g[]", "g[1", "g1-2]", "g[2-1]", "g[a-b]", "g[1-]", "g[1-2000]", "g[1,1]",
     "g[1-99][1-99]", "g[[1-2]]", "g[1-999999]", "g[१-२]"],
)  # fmt: skip
def test_wrong_ranges(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        expand_hosts(pattern)
