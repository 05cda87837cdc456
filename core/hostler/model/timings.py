"""Timeouts, pauses and intervals of the daemon that are no configuration (SSH, agent, Docker,
gateway, API, alerts, idle GPUs); retries: `decide.lifecycle`.

In seconds. None of it is configuration: what people may want otherwise stands in config.toml. Tests
pass a value with shorter times.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StartPauses:
    """When a host on which nothing starts is tried once more."""

    first: float = 10.0
    longest: float = 600.0
    """The pause is doubled each time, up to this."""
    head_start: float = 60.0
    """At most so long those who have not met the failure there go first."""


@dataclass(frozen=True, slots=True)
class SshTimings:
    """Connections to sshd. How long a connect may take is configuration (`connect_timeout`)."""

    first_steps: tuple[float, ...] = (1.0, 1.0, 2.0)
    """From the start of one connect to the next, after the first failures in a row."""
    steady: float = 5.0
    """And after more: however long a host has been away, once it is back it is to be seen that
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
    """And while nothing is asked: a dead connection is found by asking."""
    watch_every: float = 0.5
    last_read: float = 1.0
    """What an agent has said last is read for so long after its connection broke."""
    hung_after: float = 4.0
    """Silence while asked after which the agent is started anew; doubled by each such start in a
    row, for hosts that are only slow."""
    hung_after_most: float = 30.0
    quarantine: float = 60.0
    """A host whose agent broke the protocol is not connected to for so long."""
    restart_pauses: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0)
    """Before each start of an agent that ended soon; after the last one the host counts as
    down."""
    quick_end: float = 30.0
    """An agent that lived shorter than this was no good start: the next pause is longer."""
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
    """What Docker and the agent are asked about work on a host."""

    docker_answer: float = 60.0
    docker_start: float = 180.0
    docker_again: float = 0.2
    """Before Docker is asked once more for what it was not ready for."""
    refusal_read: float = 60.0
    """The text of a refusal is read for so long."""
    pull_idle: float = 900.0
    """A pull that makes no progress for so long has failed."""
    pull_told_every: float = 0.5
    killed_within: float = 20.0
    """What SIGKILL has not ended by then hangs."""
    container_check: float = 30.0
    build_report: float = 1.0
    """BuildKit reports within this time that a command has begun."""
    command_start: float = 5.0
    """A command of a build that has written nothing for so long runs in its container."""
    build_stop: float = 15.0
    """A build that is to stop waits at most so long for the containers of its commands."""
    job_create: float = 30.0
    job_place: float = 600.0
    job_start: float = 900.0
    """A virtual environment may have to be built first."""
    wheels_fetch: float = 1800.0
    """All packages of a requirements file are fetched within this time."""
    setup_first: float = 0.05
    """Until an agent is asked again how far a setup is; longer each time."""
    setup_last: float = 2.0
    job_stop_slack: float = 30.0
    """Beyond the time that the job itself is given."""


@dataclass(frozen=True, slots=True)
class GatewayTimings:
    """What a gateway's process is asked."""

    answer: float = 5.0
    worker: float = 0.3
    """Without an answer for so long, a worker of before a reload may have ended."""
    start: float = 30.0
    """For a start or a reload: large maps take a while."""
    poll: float = 0.1
    """Between two looks at what has to happen by itself."""
    port_again: float = 5.0
    """Between two tries of a service's port that another program has taken."""
    port_refused: float = 300.0
    """From a reload that HAProxy refused because of such a port to the next try."""


@dataclass(frozen=True, slots=True)
class ApiTimings:
    """Connections to the daemon's socket, and streamed answers."""

    tick: float = 2.0
    """Between two checks whether a peer still makes progress."""
    first_answer: float = 10.0
    """A connection of whose user nothing has been allowed yet may take so long to be allowed
    something."""
    first_request: float = 30.0
    next_request: float = 105.0
    """From an answer to the next request."""
    stuck: float = 60.0
    """In which nothing of an answer is taken, or of a request's body sent."""
    user_known: float = 60.0
    """Asking for a user may mean asking a directory server: an answer counts for so long."""
    repeat_refusal: float = 60.0
    """A user who is refused is named in the log so often, with how often they asked meanwhile."""
    stream_alive: float = 15.0
    """A stream without news sends a sign of life this often."""
    stream_rest: float = 0.02
    """And rests at least so long between two changes."""


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
    """Plans are made on news, and this often without any."""
    retry_action: float = 2.0
    """Pause of an action that failed."""
    repeat_complaint: float = 600.0
    """The same failure of the same action is logged again after this."""
    unkillable_after: float = 300.0
    """From the first end that was waited for in vain. A file server that restarts, or a terabyte of
    memory that is freed, takes minutes; a GPU that hangs does so for ever."""
    keep_unknown_secrets: float = 30 * 86400.0
    """Values stay of a run that the database does not know: a lost one is rebuilt by people, from
    what the hosts hold."""
    start: StartPauses = field(default_factory=StartPauses)

    # Logs and metrics of what runs
    follow_again: float = 1.0
    """Pause after a log could not be read or written."""
    short_stage: float = 0.1
    """A process that ends sooner sends all its output with its exit, so that no request for it is
    needed."""
    metrics_tick: float = 0.5
    metrics_first: float = 2.0
    """Between two reads of a metrics file that grows; doubled while it does not."""
    metrics_last: float = 60.0

    nested_every: float = 1.0
    """Stages that may submit others are asked this often for what they want."""

    gateway_every: float = 1.0
    """The gateway is compared with what it is to serve."""
    traffic_every: float = 2.0
    """The gateway's log is asked for the requests that came."""
    gateway_learns: float = 60.0
    """After a start a gateway that runs is left as it is for so long, while the ports of replicas
    that it serves are not known."""
    no_gateway: float = 10.0
    """And where there is none, the config is looked at this often."""
    gateway_catches_up: float = 2.0
    """For so long a change that was stored is waited for at the gateway, at most."""
    gateway_ends: float = 5.0
    gateway_rests: float = 60.0
    """So long a gateway that the config does not name any more has to end; its host is not asked
    again for so long where it did not."""
    gateway_release: float = 0.3
    """While a release is open the gateway is compared this often: some wait for its answers."""

    # Hosts
    look_unready: float = 0.5
    """Between two looks at a host where a replica of a service does not answer: requests wait for
    it."""
    connect_pause: float = 0.5
    """Between two tries to connect. The door itself waits for the host's turn, with back-off."""
    refused_pause: float = 3.0
    """A refused door stays shut without touching the network until something has changed that the
    refusal was based on: keys, known hosts, the SSH agent. Asking it again is how that is
    noticed."""
    superseded_pause: float = 60.0
    """A newer generation of the daemon works there: that stays so, as a rule."""
    put_aside: float = 600.0
    """A host that was put aside is not listened to for so long."""
    reconnect_each: float = 5.0
    """People may have a host tried at once, but not more often: its sshd counts failed logins."""
    gpu_healthy_for: float = 10.0
    """Looks must find a GPU healthy for so long that had failed."""
    gpu_idle_after: float = 900.0
    """A GPU that is held and not used for so long is shown as idle."""
    repeat_fault: float = 60.0
    """The same fault of a GPU is reported again after this."""
    paths_every: float = 60.0
    """File systems come and go; a host is asked anew this often."""
    missing_paths_every: float = 10.0
    """And this often while something is missing: it may be mounted soon."""
    program_answer: float = 5.0
    """A submission waits so long for hosts to say whether they have a program."""
    first_looks: float = 3.0
    """A deploy waits so long for hosts that were not looked at since the daemon began."""
    image_holder: float = 10.0
    """A host is asked so long whether it has an image that another one cannot pull."""
    image_keep: float = 3600.0
    """An image of a release may take so long to come. What came of it need not come again."""
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
    """A host that has what was asked for is asked again after this."""
    environment_again: float = 60.0
    """And one that lacks it after this: it may be made soon."""
    sweep_hosts_every: float = 1.0
    """Hosts that left the config are dropped when their work has ended."""

    # Reading files of hosts for people
    reader_patience: float = 2.0
    """A reader who takes nothing for so long gives the host's turn to others."""
    reader_turn: float = 5.0
    """So long one reader may have a host where others wait for it."""

    # What is done now and then
    state_every: float = 5.0
    """Whether the state folder is still in its place."""
    record_every: float = 2.0
    reload_every: float = 1.0
    alerts_every: float = 10.0
    budgets_every: float = 60.0
    expiry_every: float = 300.0
    expiry_timeout: float = 120.0
    gc_every: float = 6 * 3600.0
    gc_timeout: float = 120.0
    kept_every: float = 3600.0
    """Hosts are asked what they keep."""
    kept_timeout: float = 60.0
    kept_missing: float = 600.0
    """Kept files that no answer names for so long are lost."""
    clean_timeout: float = 300.0
    late_modules: float = 30.0
    """From the start of a daemon until it loads what it has not needed so far."""
    note_shutdown: float = 1.0
    """A disk that is full or does not answer holds up the end no longer than that."""

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
    """Docker may be about to start: so long it is waited for."""
    recover_again: float = 0.25


DEFAULT = Timings()
