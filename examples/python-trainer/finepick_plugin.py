"""What every trainer needs, whatever it trains: docs/plugin-contract.md on top of grpcio's asyncio server.

Derive from `Backend`, say who you are and what you can do, write `train`, and call `main`:

    class Mine(Backend):
        name, version = "com.example.mine", "1.0.0"
        devices = [api.Device(name="cuda:0", slots=1)]
        capabilities = api.ListCapabilitiesResponse(methods=[api.METHOD_KIND_LORA], nested_subsets=True)

        def train(self, spec):
            model = load(spec.model.uri)
            yield Progress(step=0)
            for size in spec.data_sizes:
                yield from fine_tune(model, size)  # yields Progress now and then
                yield Evaluation(data_size=size, loss=..., tokens=..., examples=...)

    main(Mine())

This module does the rest: it checks requests, refuses what is not claimed, makes creating idempotent, queues runs and
gives them devices, keeps their states, events and costs, serves watches with heartbeats, lists in pages, ends runs at
their deadline or when they hang, and answers errors with their details, health and reflection.

It does not do pause, estimates, retention sets and checkpoints: claiming one of them is a ValueError. Runs are kept in
memory; callers find them gone, which is LOST to them, after a restart.
"""

import abc
import argparse
import asyncio
import collections
import logging
import math
import re
import signal
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Optional, Union

import grpc
from google.protobuf import timestamp_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

import contract
from finepick.trainer.v1 import run_pb2 as pb
from finepick.trainer.v1 import trainer_service_pb2 as api
from finepick.trainer.v1 import trainer_service_pb2_grpc as rpc
from finepick.types.v1 import money_pb2

__all__ = ["Backend", "Step", "TrainingFailed", "main", "serve"]

Step = Union[pb.Progress, pb.Evaluation, pb.LogLine]  # what `Backend.train` yields

QUEUED, PREPARING, RUNNING, PAUSED, SUCCEEDED, FAILED, CANCELLED, PREEMPTED, LOST = range(1, 10)
ENDED = range(SUCCEEDED, LOST + 1)
SERVICE = api.DESCRIPTOR.services_by_name["TrainerService"].full_name
NOT_SUPPORTED = ("pause", "checkpoint_resume", "estimate", "retention_sets")
KEPT_RUNS = 1_000  # ended runs that are not forgotten (C-11.7)
KEPT_PROGRESS = 10_000  # progress and log events of a run that are not dropped (C-6.4)
PAGE_LIMIT = 50  # so many of the largest runs stay below 4 MiB (C-14.2)
LOG_BYTES = 8_192

log = logging.getLogger(__name__)


class TrainingFailed(Exception):
    """Raise it in `Backend.train` to say why a run fails; any other exception is TRAINING_FAILURE_INTERNAL."""

    def __init__(self, failure: int, detail: str = "") -> None:
        """`failure`: a pb.TRAINING_FAILURE_...; `detail`: a sentence for people, without paths and traces."""
        super().__init__(detail)
        self.failure, self.detail = failure, detail


class Backend(abc.ABC):
    """What differs from trainer to trainer."""

    name: str  # reverse-DNS name of the implementation
    version: str
    devices: list[api.Device]
    capabilities: api.ListCapabilitiesResponse  # the same for the life of the process
    queue_limit: int = 16  # runs that may wait
    heartbeat_seconds: int = 2
    watchdog_seconds: float = 3_600.0  # a run that yields nothing for so long is FAILED with STALLED
    not_ready_reason: str = ""  # UPPER_SNAKE_CASE while no runs are taken; may change at any time

    @abc.abstractmethod
    def train(self, spec: pb.TrainingRunSpec) -> Iterator[Step]:
        """Does a run: a generator that yields progress, log lines, and a loss for each of `spec.data_sizes`, in order.

        It runs in a thread of its own and may block; several run at once if there are several slots. The run is
        PREPARING until the first yield. When it is cancelled, `GeneratorExit` is raised at a yield: the caller has his
        answer at once, but the device is taken until then. `spec` has passed the checks, has its defaults filled in,
        and names the device that was chosen.
        """

    def fill_in_defaults(self, spec: pb.TrainingRunSpec) -> None:
        """Sets the fields that the caller left to the trainer, for him to see; no others. By default none."""


class Run:
    """A spec, and the events; what Get shows is their sum (C-4.8)."""

    def __init__(self, run_id: str, spec: pb.TrainingRunSpec, number: int, instance_id: str) -> None:
        self.sent, self.number = spec, number
        self.events: dict[int, pb.TrainingEvent] = {}  # by sequence
        self.droppable: collections.deque[int] = collections.deque()
        self.news = asyncio.Event()
        self.prices: list[api.Price] = []  # of its device
        self.began = 0.0
        self.deadline = math.inf
        self.shown = pb.TrainingRun(training_run_id=run_id, spec=spec, instance_id=instance_id)
        self.shown.create_time.GetCurrentTime()
        self.time = self.shown.create_time
        waits = pb.WAIT_REASON_DEVICE_BUSY if spec.device else pb.WAIT_REASON_NO_FREE_SLOT
        self.go(QUEUED, wait_reason=waits)

    @property
    def ended(self) -> bool:
        return self.shown.state in ENDED

    def add(self, **kind: Any) -> None:
        """Appends an event and wakes the watches."""
        now = timestamp_pb2.Timestamp()
        now.GetCurrentTime()
        if now.ToNanoseconds() > self.time.ToNanoseconds():  # clocks are set back, events are not (C-6.9)
            self.time = now
        self.shown.last_sequence += 1
        self.events[self.shown.last_sequence] = pb.TrainingEvent(
            sequence=self.shown.last_sequence, time=self.time, **kind
        )
        if "progress" in kind or "log" in kind:
            self.droppable.append(self.shown.last_sequence)
        if len(self.droppable) > KEPT_PROGRESS:
            del self.events[self.droppable.popleft()]
        self.news.set()  # the next event has its own
        self.news = asyncio.Event()

    def go(self, state: int, wait_reason: int = 0, failure: int = 0, detail: str = "") -> None:
        """Changes the state; a run that has ended stays as it is."""
        if self.ended:
            return
        if state in ENDED and self.shown.HasField("cost"):  # its final cost comes before its end (C-8.2)
            self.spend()
        change = pb.StateChanged(to=state, wait_reason=wait_reason, failure=failure, detail=detail)
        setattr(change, "from", self.shown.state)
        self.add(state_changed=change)
        self.shown.state, self.shown.wait_reason = state, wait_reason
        self.shown.failure, self.shown.detail = failure, detail
        if state == RUNNING:
            self.shown.start_time.CopyFrom(self.time)
        elif state in ENDED:
            self.shown.end_time.CopyFrom(self.time)

    def prepare(self, device: str, prices: list[api.Price]) -> None:
        """Gives it a device, which costs from now on."""
        self.shown.device = device
        self.prices = [price for price in prices if price.device in ("", device)]
        if prices and not self.prices:  # there is a price table, so there is money, if only none (C-8.3)
            free = money_pb2.Money(currency_code=prices[0].price.currency_code)
            self.prices = [api.Price(unit=api.PRICE_UNIT_RUN, price=free)]
        self.began = time.monotonic()
        self.go(PREPARING)
        self.spend()

    def spend(self) -> None:
        seconds, nanos, cost = time.monotonic() - self.began, 0, self.shown.cost
        for row in self.prices:
            unit = row.price.units * 10**9 + row.price.nanos
            nanos += int(unit * seconds) if row.unit == api.PRICE_UNIT_DEVICE_SECOND else unit
        cost.device_seconds = seconds
        if self.prices:
            cost.money.currency_code = self.prices[0].price.currency_code
            cost.money.units, cost.money.nanos = divmod(nanos, 10**9)
        self.add(cost=cost)

    def take(self, step: Optional[Step]) -> None:
        """Records what `train` yielded; None is its end. ValueError: the backend breaks the contract."""
        wanted, done = self.shown.spec.data_sizes, len(self.shown.evaluations)
        if step is None:
            if done < len(wanted):
                self.go(FAILED, failure=pb.TRAINING_FAILURE_EVALUATION_MISSING)
            self.go(SUCCEEDED)
            return
        if self.shown.state == PREPARING:
            self.go(RUNNING)
            limit = self.shown.spec.max_duration
            if self.shown.spec.HasField("max_duration"):
                self.deadline = time.monotonic() + limit.seconds + limit.nanos / 1e9
        if isinstance(step, pb.Progress):
            self.shown.progress.CopyFrom(step)
            self.add(progress=step)
        elif isinstance(step, pb.LogLine):
            text = step.text.encode()[:LOG_BYTES].decode(errors="ignore")
            self.add(log=pb.LogLine(severity=step.severity or pb.LOG_SEVERITY_INFO, text=text))
        elif isinstance(step, pb.Evaluation):
            if not math.isfinite(step.loss):
                raise TrainingFailed(pb.TRAINING_FAILURE_LOSS_NOT_FINITE)
            if [step.data_size] != wanted[done : done + 1]:
                raise ValueError(f"a loss at {step.data_size}; the sizes are {wanted}, and {done} of them are done")
            if step.loss <= 0 or step.tokens <= 0 or step.examples <= 0:
                raise ValueError("loss, tokens and examples are above 0")
            step.kind = pb.EVALUATION_KIND_HELD_OUT
            self.shown.evaluations.append(step)
            self.add(evaluation=step)
            self.spend()
        else:
            raise ValueError(f"train yielded a {type(step).__name__}")


class TrainerService(rpc.TrainerServiceServicer):
    """Serves a backend. Everything but `Backend.train` runs in the event loop, so nothing needs a lock."""

    def __init__(self, backend: Backend) -> None:
        if claimed := [name for name in NOT_SUPPORTED if getattr(backend.capabilities, name)]:
            raise ValueError(f"finepick_plugin does not do what is claimed: {', '.join(claimed)}")
        self.backend, self.instance_id = backend, uuid.uuid4().hex
        self.capabilities = api.ListCapabilitiesResponse()
        self.capabilities.CopyFrom(backend.capabilities)
        self.capabilities.heartbeat_interval.FromSeconds(backend.heartbeat_seconds)
        self.runs: dict[str, Run] = {}  # oldest first
        self.created = 0
        self.taken: collections.Counter[str] = collections.Counter()  # slots by device
        self.tasks: set[asyncio.Task[None]] = set()
        self.threads = ThreadPoolExecutor(sum(device.slots for device in backend.devices), "train")

    def in_state(self, *states: int) -> list[Run]:
        return [run for run in self.runs.values() if run.shown.state in states]

    async def find(self, request: Any, context: grpc.aio.ServicerContext) -> Run:
        if not contract.is_id(request.training_run_id):
            await contract.invalid(context, ["training_run_id"])
        if request.training_run_id not in self.runs:
            await contract.not_found(context, request.training_run_id)
        return self.runs[request.training_run_id]

    def unclaimed(self, spec: pb.TrainingRunSpec) -> Optional[str]:
        """Path of a field that needs what is not claimed (C-2.5), or nothing."""
        can, precision = self.capabilities, spec.hyperparameters.precision
        largest = can.data_size_max if can.HasField("data_size_max") else math.inf
        method = f"METHOD_KIND_{spec.method.WhichOneof('kind').upper()}"
        rows = [("spec.method", api.MethodKind.Value(method) in can.methods)]
        rows += [("spec.data_sizes", can.nested_subsets or len(spec.data_sizes) == 1)]
        rows += [(f"spec.data_sizes[{i}]", size <= largest) for i, size in enumerate(spec.data_sizes)]
        rows += [("spec.retention_sets", not spec.retention_sets)]
        rows += [("spec.hyperparameters.precision", precision in ("", *can.precisions))]
        rows += [("spec.device", spec.device in ("", *(device.name for device in self.backend.devices)))]
        return next((path for path, holds in rows if not holds), None)

    def dispatch(self) -> None:
        """Gives free slots to the runs that wait longest."""
        for run in self.in_state(QUEUED):
            devices = [one for one in self.backend.devices if run.sent.device in ("", one.name)]
            device = next((one.name for one in devices if self.taken[one.name] < one.slots), None)
            if device is not None:
                self.taken[device] += 1
                run.prepare(device, self.capabilities.prices)
                task = asyncio.create_task(self.drive(run, device))
                self.tasks.add(task)  # the loop itself holds tasks weakly
                task.add_done_callback(self.tasks.discard)

    async def drive(self, run: Run, device: str) -> None:
        """Brings a run to its end, whoever ends it; its slot is free when its thread has let go of the device."""
        spec = pb.TrainingRunSpec()
        spec.CopyFrom(run.shown.spec)
        spec.device = device
        steps, loop = self.steps(spec), asyncio.get_running_loop()
        while not run.ended:
            watchdog = time.monotonic() + self.backend.watchdog_seconds
            step = loop.run_in_executor(self.threads, next, steps, None)
            await asyncio.wait({step}, timeout=max(0, min(watchdog, run.deadline) - time.monotonic()))
            if time.monotonic() >= run.deadline:
                run.go(FAILED, failure=pb.TRAINING_FAILURE_DEADLINE_EXCEEDED)
            elif not step.done():
                run.go(FAILED, failure=pb.TRAINING_FAILURE_STALLED)
            try:
                result = await step
                if not run.ended:
                    run.take(result)
            except TrainingFailed as failed:
                run.go(FAILED, failure=failed.failure, detail=failed.detail)
            except Exception:  # a defect of the backend, not of the candidate
                log.exception("run %s", run.shown.training_run_id)
                run.go(FAILED, failure=pb.TRAINING_FAILURE_INTERNAL)
        try:
            await loop.run_in_executor(self.threads, steps.close)
        except Exception:
            log.exception("run %s, when it was stopped", run.shown.training_run_id)
        self.taken[device] -= 1
        self.dispatch()

    def steps(self, spec: pb.TrainingRunSpec) -> Iterator[Step]:
        yield from self.backend.train(spec)  # a generator, whatever iterator `train` returns

    async def GetTrainerInfo(self, request, context) -> api.GetTrainerInfoResponse:
        return api.GetTrainerInfoResponse(
            name=self.backend.name,
            version=self.backend.version,
            contract_versions=["v1"],
            instance_id=self.instance_id,
            devices=self.backend.devices,
            ready=not self.backend.not_ready_reason,
            ready_reason=self.backend.not_ready_reason,
            queued_runs=len(self.in_state(QUEUED)),
            active_runs=len(self.in_state(PREPARING, RUNNING)),
            queue_limit=self.backend.queue_limit,
        )

    async def ListCapabilities(self, request, context) -> api.ListCapabilitiesResponse:
        return self.capabilities

    async def EstimateTrainingRun(self, request, context) -> api.EstimateTrainingRunResponse:
        if paths := contract.wrong_spec(request):
            await contract.invalid(context, paths)
        await contract.unmet(context, "CAPABILITY_MISSING", "estimate", "estimates are not claimed")

    async def PauseTrainingRun(self, request, context) -> api.PauseTrainingRunResponse:
        if not contract.is_id(request.training_run_id):
            await contract.invalid(context, ["training_run_id"])
        await contract.unmet(context, "CAPABILITY_MISSING", "pause", "pause is not claimed")

    ResumeTrainingRun = PauseTrainingRun

    async def CreateTrainingRun(self, request, context) -> api.CreateTrainingRunResponse:
        run_id, spec = request.training_run_id, request.spec
        if paths := contract.wrong(request):
            await contract.invalid(context, paths)
        if run_id in self.runs:
            if self.runs[run_id].sent != spec:
                await contract.exists(context, run_id)
            return api.CreateTrainingRunResponse(run=self.runs[run_id].shown)
        if path := self.unclaimed(spec):
            await contract.unmet(context, "CAPABILITY_MISSING", path, f"{path} needs what is not claimed")
        if reason := self.backend.not_ready_reason:
            await contract.busy(context, "TRAINER_NOT_READY", f"not ready: {reason}")
        if len(self.in_state(QUEUED)) >= self.backend.queue_limit:
            await contract.busy(context, "QUEUE_FULL", "the queue is full")
        for old in self.in_state(*ENDED)[:-KEPT_RUNS]:
            del self.runs[old.shown.training_run_id]
        self.created += 1
        self.runs[run_id] = run = Run(run_id, spec, self.created, self.instance_id)
        self.backend.fill_in_defaults(run.shown.spec)
        answer = api.CreateTrainingRunResponse(run=run.shown)  # a copy, still QUEUED
        self.dispatch()
        return answer

    async def GetTrainingRun(self, request, context) -> api.GetTrainingRunResponse:
        return api.GetTrainingRunResponse(run=(await self.find(request, context)).shown)

    async def ListTrainingRuns(self, request, context) -> api.ListTrainingRunsResponse:
        token, size = request.page_token, request.page_size
        paths = [] if 0 <= size <= 1_000 else ["page_size"]
        paths += [] if re.fullmatch(r"[0-9]{0,18}", token) else ["page_token"]
        paths += [f"states[{i}]" for i, state in enumerate(request.states) if not QUEUED <= state <= LOST]
        if paths:
            await contract.invalid(context, paths)
        rest = self.in_state(*(request.states or range(QUEUED, LOST + 1)))
        rest = [run for run in reversed(rest) if not token or run.number < int(token)]
        page = rest[: min(size or PAGE_LIMIT, PAGE_LIMIT)]
        token = str(page[-1].number) if len(page) < len(rest) else ""
        return api.ListTrainingRunsResponse(runs=[run.shown for run in page], next_page_token=token)

    async def DeleteTrainingRun(self, request, context) -> api.DeleteTrainingRunResponse:
        run = await self.find(request, context)
        if not run.ended:
            await contract.unmet(context, "WRONG_STATE", request.training_run_id, "the run has not ended")
        del self.runs[request.training_run_id]
        return api.DeleteTrainingRunResponse()

    async def CancelTrainingRun(self, request, context) -> api.CancelTrainingRunResponse:
        run = await self.find(request, context)
        run.go(CANCELLED)
        return api.CancelTrainingRunResponse(run=run.shown)

    async def WatchTrainingRun(self, request, context) -> AsyncIterator[api.WatchTrainingRunResponse]:
        run, sent = await self.find(request, context), request.after_sequence
        if not 0 <= sent <= run.shown.last_sequence:
            await contract.invalid(context, ["after_sequence"])
        while True:
            news = run.news
            while sent < run.shown.last_sequence:
                sent += 1
                if sent in run.events:
                    yield api.WatchTrainingRunResponse(event=run.events[sent])
            if run.ended:
                return
            if news.is_set():
                continue
            try:
                await asyncio.wait_for(news.wait(), self.backend.heartbeat_seconds)
            except asyncio.TimeoutError:
                yield api.WatchTrainingRunResponse(event=pb.TrainingEvent(sequence=sent, heartbeat=pb.Heartbeat()))


async def serve(backend: Backend, port: int, host: str = "127.0.0.1") -> None:
    """Serves until SIGINT or SIGTERM, and prints its address when it listens. `port` 0: any that is free."""
    server, health, stop = grpc.aio.server(), HealthServicer(), asyncio.Event()
    port = server.add_insecure_port(f"{host}:{port}")
    rpc.add_TrainerServiceServicer_to_server(TrainerService(backend), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for name in ("", SERVICE):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server)
    await server.start()
    print(f"listening on http://{host}:{port}", flush=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    await health.enter_graceful_shutdown()
    await server.stop(grace=1)


def main(backend: Backend) -> None:
    """Serves at `--host` and `--port`."""
    parser = argparse.ArgumentParser(description=f"{backend.name} {backend.version}: a trainer for finepick")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=50063, help="0: any that is free")
    options = parser.parse_args()
    logging.basicConfig()
    asyncio.run(serve(backend, options.port, options.host))
