"""Timeouts, pauses and intervals of the daemon that are no configuration (SSH, agent, Docker,
gateway, API, alerts, idle GPUs); retries: `decide.lifecycle`.

In seconds. None of it is configuration: what people may want otherwise stands in config.toml. Tests
pass a value with shorter times.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StartPauses:
    """When the daemon retries a host on which no stage starts."""

    first: float = 10.0
    longest: float = 600.0
    """The pause is doubled each time, up to this."""
    head_start: float = 60.0
    """For at most so long, stages that have not had the failure there come first."""


@dataclass(frozen=True, slots=True)
class SshTimings:
    """Connections to sshd. How long a connect may take is configuration (`connect_timeout`)."""

    first_steps: tuple[float, ...] = (1.0, 1.0, 2.0)
    """From the start of one connect to the next, after the first failures in a row."""
    steady: float = 5.0
    """The same after more failures: even after a long absence the daemon sees a host again that
    soon."""
    settled: float = 30.0
    """A connection that lived this long was a good one; one that did not counts as a failure."""
    open_session: float = 10.0


@dataclass(frozen=True, slots=True)
class LinkTimings:
    """The connection to a host, and the agent at its end."""

    ping_after: float = 2.0
    """Silence while something is asked, after which the agent is pinged."""
    idle_ping: float = 10.0
    """The same while nothing is asked: a ping finds a dead connection."""
    watch_every: float = 0.5
    last_read: float = 1.0
    """The last output of an agent is read for so long after its connection broke."""
    hung_after: float = 4.0
    """Silence while asked after which the agent is started anew; doubled after each such start in a
    row, for slow hosts."""
    hung_after_most: float = 30.0
    quarantine: float = 60.0
    """The daemon does not connect to a host for so long after its agent broke the protocol."""
    restart_pauses: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    """Before each start of an agent that ended soon; after the last one the host counts as
    down."""
    quick_end: float = 30.0
    """An agent that ran for less than this counts as a failed start: the next pause is longer."""
    close_patience: float = 0.5
    agent_start: float = 20.0
    """From the command to the agent's first word, with its upload."""
    transfer_silence: float = 120.0
    """A transfer without a byte for so long is aborted: a disk there hangs."""
    log_wait: float = 5.0
    """The agent waits so long for output before it answers that there was none."""
    log_answer: float = 30.0


@dataclass(frozen=True, slots=True)
class RuntimeTimings:
    """Requests to Docker and the agent about work on a host."""

    docker_answer: float = 60.0
    docker_start: float = 180.0
    docker_again: float = 0.2
    """Pause before a repeated request for which Docker was not ready."""
    refusal_read: float = 60.0
    """The text of a refusal is read for so long."""
    pull_idle: float = 900.0
    """A pull that makes no progress for so long has failed."""
    pull_told_every: float = 0.5
    killed_within: float = 20.0
    """A process that SIGKILL has not ended by then hangs."""
    container_check: float = 30.0
    build_report: float = 1.0
    """BuildKit reports within this time that a command has begun."""
    command_start: float = 5.0
    """A command of a build that has written nothing for so long runs in its container."""
    build_stop: float = 15.0
    """A build that has to stop waits at most so long for the containers of its commands."""
    job_create: float = 30.0
    job_place: float = 600.0
    job_start: float = 900.0
    """A virtual environment may have to be built first."""
    wheels_fetch: float = 1800.0
    """All packages of a requirements file are fetched within this time."""
    setup_first: float = 0.05
    """Pause until the daemon asks an agent again about the progress of a setup; longer each
    time."""
    setup_last: float = 2.0
    job_stop_slack: float = 30.0
    """Beyond the time that the job itself is given."""


@dataclass(frozen=True, slots=True)
class GatewayTimings:
    """Requests to a gateway's process."""

    answer: float = 5.0
    worker: float = 0.3
    """Without an answer for so long, a worker from before a reload may have ended."""
    start: float = 30.0
    """For a start or a reload: large maps take a while."""
    poll: float = 0.1
    """Pause between two checks of an expected change."""
    port_again: float = 5.0
    """Pause between two tries of a service's port that another program has taken."""
    port_refused: float = 300.0
    """From a reload that HAProxy refused because of such a port to the next try."""


@dataclass(frozen=True, slots=True)
class ApiTimings:
    """Connections to the daemon's socket, and streamed answers."""

    tick: float = 2.0
    """Between two checks whether a peer still makes progress."""
    first_answer: float = 10.0
    """A connection of a user without an allowed request yet must have one within this time."""
    first_request: float = 30.0
    next_request: float = 105.0
    """From an answer to the next request."""
    stuck: float = 60.0
    """Longest time in which a client reads nothing of an answer, or sends nothing of a request's
    body."""
    user_known: float = 60.0
    """The look-up of a user may need a directory server: an answer is valid for so long."""
    repeat_refusal: float = 60.0
    """The log names a refused user once in this time, with the number of requests meanwhile."""
    stream_alive: float = 15.0
    """A stream without events sends a keep-alive this often."""
    stream_rest: float = 0.02
    """A stream pauses at least so long between two changes."""


@dataclass(frozen=True, slots=True)
class Timings:
    """Times of the daemon. Requests to a host that may hang have a timeout of their own."""

    ssh: SshTimings = field(default_factory=SshTimings)
    link: LinkTimings = field(default_factory=LinkTimings)
    runtimes: RuntimeTimings = field(default_factory=RuntimeTimings)
    gateway: GatewayTimings = field(default_factory=GatewayTimings)
    api: ApiTimings = field(default_factory=ApiTimings)

    # Planning and acting
    plan_every: float = 1.0
    """The daemon plans on every event, and this often without any."""
    retry_action: float = 2.0
    """Pause of an action that failed."""
    repeat_complaint: float = 600.0
    """The same failure of the same action is logged again after this."""
    unkillable_after: float = 300.0
    """From the first failed wait for an end. A file server that restarts, or a terabyte of memory
    that is freed, takes minutes; a GPU that hangs stays so forever."""
    keep_unknown_secrets: float = 30 * 86400.0
    """Secrets of a run that the database does not know stay so long: people rebuild a lost database
    from the copies on hosts."""
    start: StartPauses = field(default_factory=StartPauses)

    # Logs and metrics of what runs
    follow_again: float = 1.0
    """Pause after a failed read or write of a log."""
    short_stage: float = 0.1
    """A process that ends sooner sends all its output with its exit, so that no request for it is
    needed."""
    metrics_tick: float = 0.5
    metrics_first: float = 2.0
    """Pause between two reads of a metrics file that grows; doubled while it does not grow."""
    metrics_last: float = 60.0

    nested_every: float = 1.0
    """The daemon asks stages that may submit runs this often for requests."""

    gateway_every: float = 1.0
    """The daemon compares the gateway this often with what it has to serve."""
    traffic_every: float = 2.0
    """The daemon reads new requests from the gateway's log this often."""
    gateway_learns: float = 60.0
    """After a start the daemon leaves a running gateway unchanged for so long, while the ports of
    replicas that it serves are unknown."""
    no_gateway: float = 10.0
    """Without a gateway, the daemon checks the config this often."""
    gateway_catches_up: float = 2.0
    """Longest wait for a stored change to reach the gateway."""
    gateway_ends: float = 5.0
    gateway_rests: float = 60.0
    """A gateway that the config no longer names has to end within this time; if it does not, its
    host is asked again only after the same time."""
    gateway_release: float = 0.3
    """While a release is open the gateway is compared this often: some wait for its answers."""

    # Hosts
    look_unready: float = 0.5
    """Pause between two looks at a host where a replica of a service does not answer: requests wait
    for it."""
    connect_pause: float = 0.5
    """Between two tries to connect. The door itself waits for the host's turn, with back-off."""
    refused_pause: float = 3.0
    """A refused door stays shut without touching the network until something has changed that the
    refusal was based on: keys, known hosts, the SSH agent. Asking it again is how that is
    noticed."""
    superseded_pause: float = 60.0
    """A newer generation of the daemon works there: this rarely changes."""
    put_aside: float = 600.0
    """The daemon ignores a host that was put aside for so long."""
    reconnect_each: float = 5.0
    """People may request an immediate connect to a host, but not more often: its sshd counts failed
    logins."""
    gpu_healthy_for: float = 10.0
    """A failed GPU must be healthy in looks for so long."""
    gpu_idle_after: float = 900.0
    """A GPU that is held and not used for so long is shown as idle."""
    repeat_fault: float = 60.0
    """The same fault of a GPU is reported again after this."""
    paths_every: float = 60.0
    """File systems come and go; a host is asked anew this often."""
    missing_paths_every: float = 10.0
    """The same while something is missing: it may be mounted soon."""
    program_answer: float = 5.0
    """A submission waits so long for hosts to say whether they have a program."""
    first_looks: float = 3.0
    """A deploy waits so long for hosts without a look since the daemon began."""
    image_holder: float = 10.0
    """Time for a host to say whether it has an image that another one cannot pull."""
    image_keep: float = 3600.0
    """An image of a release may take so long to arrive. Parts that arrived are not sent again."""
    image_near: float = 2.0
    """A submission waits so long for a host to say whether it has an image."""
    environment_answer: float = 2.0
    """The same for a mere note about the submitter's environment."""
    environment_check: float = 10.0
    """A submission waits so long for hosts to say whether they have modules or a conda
    environment."""
    environment_call: float = 40.0
    """The host itself ends its search after 30 seconds."""
    environment_kept: float = 600.0
    """A host that has the environment is asked again after this."""
    environment_again: float = 60.0
    """A host that lacks it is asked again after this: it may be made soon."""
    sweep_hosts_every: float = 1.0
    """Hosts that left the config are dropped when their work has ended."""

    # Reading files of hosts for people
    reader_patience: float = 2.0
    """A reader who reads nothing for so long loses the host's turn to others."""
    reader_turn: float = 5.0
    """One reader may use a host for so long if others wait for it."""

    # What is done now and then
    state_every: float = 5.0
    """The daemon checks this often that the state folder is still in its place."""
    record_every: float = 2.0
    reload_every: float = 1.0
    alerts_every: float = 10.0
    budgets_every: float = 60.0
    expiry_every: float = 300.0
    expiry_timeout: float = 120.0
    gc_every: float = 6 * 3600.0
    gc_timeout: float = 120.0
    kept_every: float = 3600.0
    """Hosts are asked this often which files they keep."""
    kept_timeout: float = 60.0
    kept_missing: float = 600.0
    """Kept files that no answer names for so long are lost."""
    clean_timeout: float = 300.0
    late_modules: float = 30.0
    """From the start of a daemon until it loads what it has not needed so far."""
    note_shutdown: float = 1.0
    """A disk that is full or does not answer delays the end at most so long."""

    # Notes on hosts
    notes_timeout: float = 60.0
    service_note: float = 10.0
    """For the note about a service on one host: its release waits for it."""
    merge_timeout: float = 120.0
    """For all that one host has noted."""
    merge_together: float = 10.0
    """Hosts that are being connected to are waited for: what several know of one run fits
    together."""
    merge_tick: float = 0.05
    recover_timeout: float = 20.0
    recover_look: float = 10.0
    recover_docker: float = 5.0
    """Docker may be starting: the daemon waits for it so long."""
    recover_again: float = 0.25


DEFAULT = Timings()
