"""Every setting of ReflexArc, from environment variables and one TOML file.

Read by the command line, which hands each role the group it needs; nothing else looks at the environment. Variables
are named `REFLEXARC_<GROUP>__<FIELD>` (two underscores), and win over the file, which is `reflexarc.toml` in the
working directory or the path in `REFLEXARC_CONFIG`. What neither sets may come from a learnt model (`LearntSource`).
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from actions.connectors.settings import ConnectorsSettings
from actions.forensics import ForensicsSettings
from actions.rails import MaintenanceWindow
from actions.settings import PolicySettings
from detectors.severity import REHEARSAL, WIDE
from learning.registry import CONFIDENCE_CALIBRATION, DETECTION_THRESHOLDS, POLICY_THRESHOLDS, live_file, read
from schemas.envelope import Name
from schemas.errors import ConfigurationError

# What a learnt model of each kind may set; anything else in it is passed over.
LEARNT: Mapping[str, frozenset[str]] = {
    POLICY_THRESHOLDS: frozenset({"policy.min_confidence"}),
    DETECTION_THRESHOLDS: frozenset({"detect.max_false_share", "correlate.lone_wait_seconds", "correlate.doubted"}),
    CONFIDENCE_CALIBRATION: frozenset({"correlate.rule_records"}),
}

Seconds = Annotated[float, Field(gt=0)]
SignedSource = Literal["pagerduty", "sentry"]
NonNegative = Annotated[float, Field(ge=0)]


class Group(BaseModel):
    """A group of settings: a misspelt name is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Group):
    """How to reach Kafka. No `bootstrap_servers`: the embedded broker is started."""

    bootstrap_servers: str | None = None
    """Comma-separated host:port list."""
    topic_prefix: str = "reflexarc"
    """Topics are named `<prefix>.<name>`; consumer groups `<prefix>-<stage>`."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """With or without TLS, with or without a login."""
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    """How to log in; needed with `SASL_PLAINTEXT` and `SASL_SSL`."""
    sasl_username: str | None = None
    """Who logs in."""
    sasl_password: str | None = Field(default=None, repr=False)
    """Never logged."""
    ssl_cafile: Path | None = None
    """PEM file of the authorities that brokers are trusted by; none: those of the system."""
    ssl_certfile: Path | None = None
    """PEM file of our own certificate, where brokers ask for one."""
    ssl_keyfile: Path | None = None
    """PEM file of the key of our own certificate."""
    ssl_check_hostname: bool = True
    """Whether a broker's certificate must name the host that was asked for."""
    replication_factor: Annotated[int, Field(ge=1)] = 1
    """Of topics that ReflexArc creates; 3 in production."""
    rebalance_timeout_seconds: Seconds = 60
    """How long the members of a group have to join when it changes."""
    session_timeout_seconds: Seconds = 30
    """A member silent for this long is dead, and its partitions go to others."""
    heartbeat_interval_seconds: Seconds = 3
    """How often a member says that it lives; at most a third of the session timeout."""
    fetch_wait_seconds: Seconds = 0.5
    """How long a broker may hold a fetch that finds nothing. Apache Kafka answers as soon as something arrives."""


class LedgerSettings(Group):
    """How to reach Redis or Valkey. No `url`: the embedded Valkey is started."""

    url: str | None = Field(default=None, repr=False)
    """redis:// or rediss:// URL."""
    key_prefix: str = "reflexarc"
    """Keys begin with `{<prefix>}:`, so that installations can share a server."""
    lease_seconds: Seconds = 30
    """An executor that says nothing for this long has lost its action to another."""


class ObjectiveSettings(Group):
    """A bound on what a metric shows in one tick: the mean of a gauge, the increase per second of a counter."""

    metric: str
    """Pattern (`*`, `?`) of metric names."""
    service: str = "*"
    """Pattern of environment/service."""
    above: float | None = None
    """More than this three times in a row breaks the objective."""
    below: float | None = None
    """Less than this three times in a row breaks the objective."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.above is None and self.below is None:
            raise ValueError("an objective needs `above` or `below`")
        return self


class DetectSettings(Group):
    """The detect stage."""

    tick_seconds: Seconds = 1.0
    """Event time between two looks at a series; samples in between are averaged."""
    lateness_seconds: Annotated[float, Field(ge=0)] = 0.5
    """How far behind the newest record of its partition a record may lie and still count."""
    future_seconds: Seconds = 60
    """A record further ahead of its broker timestamp than this has a wrong clock and is dead-lettered."""
    window: Annotated[int, Field(ge=16, le=4096)] = 64
    """Ticks of history a series keeps."""
    warmup: Annotated[int, Field(ge=8)] = 24
    """Ticks of history before a series is judged."""
    max_series: Annotated[int, Field(ge=1)] = 200_000
    """Per raw partition, at about 1.8 kB each. Beyond it new series are counted and reported, not kept."""
    series_ttl_seconds: Seconds = 10_800
    """A series without samples for this long is forgotten; two samples may be missing of one that comes hourly."""
    quiet_seconds: Seconds = 5.0
    """Where the broker has had no log record for longer, event time passes by the clock: no errors is a fact, too."""
    max_false_share: Annotated[float, Field(gt=0, le=1)] = 0.2
    """At most this share of what a partition raises may be false; on a day without a fault, so much of one signal."""
    process_learning_seconds: Annotated[float, Field(ge=0)] = 86_400
    """For so long after the first event of a process a partition's processes are only learned, none is told."""
    session_attributes: Annotated[tuple[Name, ...], Field(max_length=4)] = ("session.id",)
    """Attributes of log records that say what belongs together; of several the first that is present counts."""
    session_idle_seconds: Seconds = 60
    """A session of log lines has ended when it was silent for this long, and is judged then."""
    span_tick_seconds: Seconds = 5.0
    """Event time over which spans are counted and averaged: the fewer calls, the longer it takes to know."""
    span_wait_seconds: Seconds = 6.0
    """For so long a tick of spans waits for others of its traces; OpenTelemetry's SDKs export every five seconds."""
    max_spans: Annotated[int, Field(ge=1)] = 50_000
    """Spans per raw partition that may wait, at about 0.7 kB each; more are counted and reported, not used."""
    max_span_names_per_service: Annotated[int, Field(ge=1)] = 200
    """Operations of a service whose spans are kept apart; those of all others are counted together."""
    max_calls: Annotated[int, Field(ge=1)] = 10_000
    """Pairs of calling and called service per raw partition that spans may tell of; more are not told."""
    adapt_seconds: Seconds = 3600
    """A series that stays abnormal for this long has a new normal; that is no recovery, and is said so."""
    max_entities: Annotated[int, Field(ge=1)] = 20_000
    """Instances per raw partition judged as a whole; those beyond are judged by their series only."""
    max_metrics_per_entity: Annotated[int, Field(ge=3)] = 256
    """Metrics of an instance that are judged together; those beyond are judged alone."""
    witness_false_signals_per_day: Annotated[float, Field(gt=0)] = 1.0
    """How many false signals a day one partition's instances as a whole may raise together; and as many its peers."""
    objectives: tuple[ObjectiveSettings, ...] = ()
    """What metrics may not exceed. The first whose patterns match a series counts."""


class InhibitSettings(Group):
    """A rule of inhibition, as Alertmanager has them: what follows from something that fires opens no incident."""

    source_matchers: Annotated[tuple[str, ...], Field(min_length=1)]
    """What inhibits while it fires: `name="value"`, `!=`, `=~` or `!~` on labels and attributes of signals."""
    target_matchers: Annotated[tuple[str, ...], Field(min_length=1)]
    """What is inhibited."""
    equal: tuple[str, ...] = ()
    """Labels that both must share."""


class CorrelateSettings(Group):
    """The correlate stage."""

    group_wait_seconds: Annotated[float, Field(ge=0)] = 2.0
    """Event time that an alert of another system waits for company before it opens an incident of its own."""
    group_interval_seconds: Seconds = 5.0
    """At least this long between two revisions of an open incident that say nothing urgent."""
    repeat_interval_seconds: Seconds = 14_400
    """An incident that stays as it is, is told again after this long."""
    topology: Path | None = None
    """YAML file of which services call which: `services: {checkout: {depends_on: [orders-db]}}`."""
    join_within_seconds: Seconds = 600
    """What begins in a service within this long after the incident of one that it depends on is an effect of that."""
    split_after_seconds: Seconds = 60
    """Effects that outlast their cause by this long are an incident of their own."""
    alert_lag_seconds: Annotated[float, Field(ge=0)] = 300
    """How late other systems tell that an alert is over: so much longer may effects that are alerts alone last."""
    learn_links: bool = True
    """Join services of which no call is known when their troubles coincide more often than chance would have it."""
    inhibit: tuple[InhibitSettings, ...] = ()
    """What is not worth an incident of its own while something else fires."""
    change_window_seconds: Seconds = 600
    """A change is a candidate cause of what begins within this long after it."""
    resolve_after_seconds: Annotated[float, Field(ge=0)] = 10.0
    """An incident is resolved when nothing of it has fired for this long."""
    lone_wait_seconds: Seconds = 30.0
    """Evidence from one subject alone opens an incident when it has lasted for this long."""
    doubted: tuple[str, ...] = ()
    """Names at a place (`prod/checkout:http.server.request.duration`) whose alarms were mostly false: they open an
    incident only if they last as long as lone evidence, or in company of what is not doubted."""
    rule_records: dict[str, tuple[NonNegative, NonNegative]] = {}
    """Per rule of the classifier: how often its class turned out right, and how often wrong. Its confidence is the mean
    of its prior and these."""
    max_hold_seconds: Seconds = 2.0
    """A source that holds the watermark back for this long of wall-clock time is no longer waited for."""
    recurrence_seconds: Seconds = 3600
    """An incident of which a subject fires again within this long after its end is named by the next as its former."""
    critical_services: tuple[str, ...] = ()
    """Patterns of environment/service (`prod/checkout`, `prod/pay*`) whose incidents are a step more severe."""
    minor_services: tuple[str, ...] = ()
    """Patterns of environment/service whose incidents are a step less severe."""
    rehearsal_environments: tuple[str, ...] = REHEARSAL
    """Patterns of environments that are no production: a step less severe."""
    quiet_hours: tuple[MaintenanceWindow, ...] = ()
    """When little depends on services: what begins then is a step less severe, as in `policy.rails.maintenance`."""
    wide_instances: Annotated[int, Field(ge=2)] = WIDE
    """So many abnormal instances of a service make an incident a step more severe."""


class ExecutorSettings(Group):
    """Executor workers."""

    name: str = Field(default_factory=lambda: f"{os.uname().nodename}-{os.getpid()}")
    """Who holds a lease, and who carried an action out."""
    max_in_flight: Annotated[int, Field(ge=1)] = 16
    """Actions one executor runs at a time."""


class ConsoleSettings(Group):
    """The HTTP API and the pages."""

    host: str = "127.0.0.1"
    """Address to listen on. Any other than loopback needs a token."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8480
    """0: any free one."""
    token: str | None = Field(default=None, repr=False)
    """Asked of everyone as a bearer token. Needed where others than this machine can reach the console."""
    signatures: dict[SignedSource, Annotated[SecretStr, Field(min_length=16)]] = {}
    """Secrets that `pagerduty` and `sentry` sign webhooks with. Theirs need a right signature then, and no token."""


class LearnSettings(Group):
    """What is learnt, and where its versions are kept."""

    registry: Path = Path("models")
    """Folder of the versions of what was learnt. What is live there holds where no variable and no file says else."""
    every_hours: Annotated[float, Field(gt=0)] = 24.0
    """How often the role `learner`, which `reflexarc up` starts, too, builds candidates and puts them to the gate."""
    play: str | None = None
    """How much of the topics it plays each time, as `24h` or `7d`; none: candidates are judged by lessons alone."""


class StateSettings(Group):
    """Snapshots of a stage's state."""

    snapshot_interval_seconds: Seconds = 10.0
    """At most this much telemetry is read again after a crash."""


class Settings(BaseSettings):
    """All groups. See `docs/settings.md`, which is generated from here."""

    model_config = SettingsConfigDict(env_prefix="REFLEXARC_", env_nested_delimiter="__", extra="forbid", frozen=True)
    with_what_was_learnt: ClassVar[bool] = True

    kafka: KafkaSettings = KafkaSettings()
    ledger: LedgerSettings = LedgerSettings()
    detect: DetectSettings = DetectSettings()
    correlate: CorrelateSettings = CorrelateSettings()
    executor: ExecutorSettings = Field(default_factory=ExecutorSettings)
    console: ConsoleSettings = ConsoleSettings()
    state: StateSettings = StateSettings()
    learn: LearnSettings = LearnSettings()
    policy: PolicySettings = PolicySettings()
    connectors: ConnectorsSettings = ConnectorsSettings()
    forensics: ForensicsSettings = ForensicsSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is given
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is given
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        toml = TomlConfigSettingsSource(settings_cls, toml_file=config_path())
        learnt = [LearntSource(settings_cls)] if cls.with_what_was_learnt else []
        return init_settings, env_settings, toml, *learnt


class LearntSource(PydanticBaseSettingsSource):
    """What the registry's live model sets: only what may be learnt, and only what nobody has set."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002 - given
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        said = self.current_state.get("learn") or {}
        folder = said.get("registry") if isinstance(said, dict) else said.registry
        found: dict[str, Any] = {}
        for kind in LEARNT:
            path = live_file(Path(folder or LearnSettings().registry), kind)
            if path.exists():
                for group, learnt in _learnt(kind, read(path).parameters).items():
                    found.setdefault(group, {}).update(learnt)
        return found


class Spoken(Settings):
    """What people have set, without what was learnt."""

    with_what_was_learnt: ClassVar[bool] = False


def pinned() -> frozenset[str]:
    """Name the settings that could be learnt, but that people have set."""
    spoken = Spoken()
    return frozenset(name for names in LEARNT.values() for name in names if is_set(spoken, name))


def is_set(settings: Settings, name: str) -> bool:
    """Whether somebody has set it, rather than left it as shipped."""
    return _field(name) in getattr(settings, _group(name)).model_fields_set


def value_of(settings: Settings, name: str) -> Any:
    """Look a setting up by its name, as `detect.window`."""
    return getattr(getattr(settings, _group(name)), _field(name))


def with_learnt(settings: Settings, kind: str, parameters: Mapping[str, Any]) -> Settings:
    """Give the settings as a model of some kind would make them.

    Raises:
        ValidationError: it sets what cannot be.

    """
    changes = {}
    for group, fields in _learnt(kind, parameters).items():
        now = getattr(settings, group)
        checked = type(now).model_validate(fields)
        changes[group] = now.model_copy(update={name: getattr(checked, name) for name in fields})
    return settings.model_copy(update=changes)


def _learnt(kind: str, parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Sort what a model may set by groups."""
    found: dict[str, dict[str, Any]] = {}
    for name, value in parameters.items():
        if name in LEARNT.get(kind, ()):
            found.setdefault(_group(name), {})[_field(name)] = value
    return found


def _group(name: str) -> str:
    return name.partition(".")[0]


def _field(name: str) -> str:
    return name.partition(".")[2]


def config_path() -> Path | None:
    """Path of the TOML file: what `REFLEXARC_CONFIG` names, or `reflexarc.toml` here, or none."""
    named = os.environ.get("REFLEXARC_CONFIG")
    if named is not None:
        return Path(named)
    local = Path("reflexarc.toml")
    return local if local.exists() else None


def load_settings(over: Path | None = None, *, learnt: bool = True) -> Settings:
    """Read the settings.

    Args:
        over: a TOML file whose settings go before all others, to try them out.
        learnt: with what is live of what was learnt; without for who follows that over time (`streams.course`).

    Raises:
        ConfigurationError: naming each wrong setting.

    """
    path = config_path()
    if path is not None and not path.exists():
        raise ConfigurationError(f"REFLEXARC_CONFIG names {path}, which does not exist")
    try:
        return (Settings if learnt else Spoken)(**({} if over is None else _toml(over)))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigurationError(f"settings ({over or path or 'environment'}): {faults}") from None


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from None
