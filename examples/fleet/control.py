"""The control API: what an orchestrator offers to those who may change a running system.

JSON over HTTP on loopback. Every change needs the bearer token. Changes are desired states, so repeating one changes
nothing; with an `Idempotency-Key` a repeat also gets the very answer of the first time.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from examples.fleet.processes import Child
from examples.fleet.services import MAX_INSTANCES, VERSIONS, Instance, Kind, Service

# Keys are remembered newest first; an hour of one change a second.
REMEMBERED_KEYS = 3600
# Ten times a healthy request: slow beyond doubt, and far from any timeout.
SLOW_SECONDS = 0.25

Json = dict[str, Any]
Answer = tuple[int, Json]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class VersionBody(_Body):
    """PUT /v1/services/{service}/version."""

    version: str
    kind: Kind = "rollout"


class ScaleBody(_Body):
    """PUT /v1/services/{service}/scale."""

    instances: int = Field(ge=1, le=MAX_INSTANCES)


class IsolationBody(_Body):
    """PUT /v1/instances/{id}/isolation."""

    isolated: bool


class SlowInstanceBody(_Body):
    """PUT /v1/faults/slow-instance: what every request of it takes longer; 0 ends the fault."""

    instance: str
    seconds: float = Field(default=SLOW_SECONDS, ge=0, le=5)


class CrashBody(_Body):
    """PUT /v1/faults/crash: the process dies; the same version set again brings it back."""

    instance: str


class SurgeBody(_Body):
    """PUT /v1/faults/traffic-surge: times the usual rate; 1 ends the fault."""

    factor: float = Field(gt=0, le=10)


class ApiError(Exception):
    """The request cannot be served; says why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Control:
    """Serves the control API over the services and the load generator."""

    def __init__(self, services: Mapping[str, Service], load: Child, *, token: str, environment: str) -> None:
        self._services = services
        self._load = load
        self._token = token.encode()
        self._environment = environment
        self._answers: OrderedDict[str, tuple[str, Answer]] = OrderedDict()

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._errors])
        app.router.add_get("/healthz", _healthz)
        app.router.add_get("/v1/services/{service}", self._show)
        app.router.add_put("/v1/services/{service}/version", self._change(self._set_version))
        app.router.add_put("/v1/services/{service}/scale", self._change(self._set_scale))
        app.router.add_put("/v1/instances/{instance}/isolation", self._change(self._isolate))
        app.router.add_put("/v1/faults/slow-instance", self._change(self._slow_instance))
        app.router.add_put("/v1/faults/crash", self._change(self._crash))
        app.router.add_put("/v1/faults/traffic-surge", self._change(self._surge))
        return app

    async def _show(self, request: web.Request) -> web.Response:
        return _response(200, self._snapshot(self._service(request)))

    def _set_version(self, request: web.Request, body: bytes) -> Answer:
        wanted, service = VersionBody.model_validate_json(body), self._service(request)
        if wanted.version not in VERSIONS[service.name]:
            raise ApiError(422, f"{service.name} has no version {wanted.version}")
        deployment = service.set_version(wanted.version, wanted.kind)
        return (200 if deployment is None else 202), self._snapshot(service)

    def _set_scale(self, request: web.Request, body: bytes) -> Answer:
        wanted, service = ScaleBody.model_validate_json(body), self._service(request)
        service.set_scale(wanted.instances)
        return 202, self._snapshot(service)

    def _isolate(self, request: web.Request, body: bytes) -> Answer:
        wanted = IsolationBody.model_validate_json(body)
        service, instance = self._instance(request.match_info["instance"])
        service.isolate(instance, isolated=wanted.isolated)
        return 200, self._snapshot(service)

    def _slow_instance(self, _request: web.Request, body: bytes) -> Answer:
        fault = SlowInstanceBody.model_validate_json(body)
        service, instance = self._instance(fault.instance)
        if instance.child is not None:
            instance.child.send(fault.seconds)
        return 200, self._snapshot(service)

    def _crash(self, _request: web.Request, body: bytes) -> Answer:
        service, instance = self._instance(CrashBody.model_validate_json(body).instance)
        if instance.child is not None:
            instance.child.kill()
        return 200, self._snapshot(service)

    def _surge(self, _request: web.Request, body: bytes) -> Answer:
        factor = SurgeBody.model_validate_json(body).factor
        self._load.send(factor)
        return 200, {"factor": factor}

    def _change(
        self, apply: Callable[[web.Request, bytes], Answer]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Guard a change with the token and the idempotency key.

        `apply` does not await, so two requests with one key cannot both be the first.
        """

        async def handle(request: web.Request) -> web.Response:
            body = await request.read()
            self._authorise(request)
            key = request.headers.get("Idempotency-Key")
            if key is None:
                return _response(*apply(request, body))
            fingerprint = sha256(f"{request.method} {request.path}\n".encode() + body).hexdigest()
            known, answer = self._answers.get(key, (fingerprint, None))
            if known != fingerprint:
                raise ApiError(422, "this Idempotency-Key was used for another request")
            if answer is None:
                answer = apply(request, body)
                self._remember(key, fingerprint, answer)
            return _response(*answer)

        return handle

    def _remember(self, key: str, fingerprint: str, answer: Answer) -> None:
        self._answers[key] = (fingerprint, answer)
        if len(self._answers) > REMEMBERED_KEYS:
            self._answers.popitem(last=False)

    def _authorise(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), self._token):
            raise ApiError(401, "a change needs the bearer token")

    def _service(self, request: web.Request) -> Service:
        name = request.match_info["service"]
        if name not in self._services:
            raise ApiError(404, f"no service {name}")
        return self._services[name]

    def _instance(self, instance_id: str) -> tuple[Service, Instance]:
        for service in self._services.values():
            if instance_id in service.instances:
                return service, service.instances[instance_id]
        raise ApiError(404, f"no instance {instance_id}")

    def _snapshot(self, service: Service) -> Json:
        return {"environment": self._environment, **service.snapshot()}

    @web.middleware
    async def _errors(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return await handler(request)
        except ApiError as error:
            return _response(error.status, {"error": str(error)})
        except ValidationError as error:
            return _response(
                422, {"error": error.errors(include_url=False, include_input=False, include_context=False)}
            )


async def _healthz(_request: web.Request) -> web.Response:
    return _response(200, {"status": "ok"})


def _response(status: int, answer: Json | dict[str, object]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(answer), content_type="application/json")
