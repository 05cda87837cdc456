"""Keys of a stage that is a service (`replicas`, `port`, `startup`, `drain`, `sticky` ...): help
and bounds; the values of `health`: `services`.
"""

from __future__ import annotations

from hostler.base.keys import toml_key
from hostler.base.value_kinds import DURATION, FLAG, whole
from hostler.model.services import ADDRESS, HEALTH, WARMUP

MAX_REPLICAS = 64
HEALTH_KEY = toml_key(
    HEALTH,
    'Of a service: path of a request that a healthy replica answers ("/health"), "tcp", or a table '
    "with `path`, `method`, `body`, `headers`, `status`, `timeout`, `every` and `patience`.",
)
REPLICAS = toml_key(
    whole(1, MAX_REPLICAS, fillable=True), "Of a service: how many of it run. Default: 1."
)
PORT = toml_key(
    whole(1, 65535, fillable=True),
    "Of a service in a container: the port on which it listens there. A process gets its port in "
    "$HOSTLER_PORT.",
)
STARTUP = toml_key(
    DURATION, "Of a service: how long a replica may take to become ready. Default: 10m."
)
UNTIL = toml_key(
    DURATION,
    'Of a service: how long after its submission it ends by itself, like "14d". Default: it runs '
    "until it is stopped.",
)
DRAIN = toml_key(
    DURATION,
    "Of a service behind the gateway: how long requests have to end before a release stops their "
    "replica. Default: 30s.",
)
MAXCONN = toml_key(
    whole(1, 100_000, fillable=True),
    "Of a service behind the gateway: requests that a replica gets at once; more wait at the "
    "gateway. Default: no limit.",
)
ADDRESS_KEY = toml_key(
    ADDRESS,
    'Of a service behind the gateway: where it is served: a path ("/digits/"), a host name '
    '("digits.lab.example") or a port of its own (":8101"). Default: at a path of its name.',
)
STICKY = toml_key(
    FLAG,
    "Of a service behind the gateway: send a browser to the replica that answered it first, by a "
    "cookie.",
)
WARMUP_KEY = toml_key(
    WARMUP,
    "Of a service: a request, as a path or a table like `health`, which a replica has to answer "
    "once before it is ready.",
)
