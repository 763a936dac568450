"""A trainer in Python, written from docs/plugin-contract.md alone: it sleeps where a real one trains.

    pip install grpcio grpcio-tools grpcio-health-checking grpcio-reflection grpcio-status
    python -m grpc_tools.protoc -I proto --python_out=build --grpc_python_out=build $(find proto -name '*.proto')
    PYTHONPATH=build python examples/python-trainer/trainer.py --port 50063
    finepick-conformance --target http://127.0.0.1:50063

Replace `Run.work` by training; contract.py has the ranges of fields and the errors. It claims no pause, no estimate, no
retention sets: what is not claimed is refused.
"""

import argparse
import asyncio
import random
import re
import time
import uuid

import grpc
from google.protobuf import duration_pb2, timestamp_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

import contract
from finepick.trainer.v1 import run_pb2 as pb
from finepick.trainer.v1 import trainer_service_pb2 as api
from finepick.trainer.v1 import trainer_service_pb2_grpc as rpc

QUEUED, PREPARING, RUNNING, PAUSED, SUCCEEDED, FAILED, CANCELLED, PREEMPTED, LOST = range(1, 10)
SLOTS, QUEUE_LIMIT, KEPT_RUNS, HEARTBEAT_SECONDS, INSTANCE = 2, 16, 1_000, 2, uuid.uuid4().hex
SERVICE = api.DESCRIPTOR.services_by_name["TrainerService"].full_name
METHODS = {"full": api.METHOD_KIND_FULL, "lora": api.METHOD_KIND_LORA}


def unclaimed(spec):
    """Path of a field that needs what is not claimed (C-2.5), or nothing."""
    rows = [("spec.method", spec.method.WhichOneof("kind") in METHODS)]
    rows += [("spec.retention_sets", not spec.retention_sets)]
    rows += [("spec.hyperparameters.precision", spec.hyperparameters.precision in ("", "fp32"))]
    rows += [("spec.device", spec.device in ("", "cpu"))]
    return next((path for path, holds in rows if not holds), None)


class Run:
    """A spec, and the events; what Get shows is their sum (C-4.8)."""

    def __init__(self, run_id, spec, number):
        self.sent, self.number, self.events, self.task, self.news = spec, number, [], None, asyncio.Event()
        self.run = pb.TrainingRun(training_run_id=run_id, spec=spec, instance_id=INSTANCE)
        self.run.create_time.GetCurrentTime()
        if not spec.hyperparameters.HasField("steps"):
            self.run.spec.hyperparameters.epochs = spec.hyperparameters.epochs or 1
        self.go(QUEUED)

    def add(self, **kind):
        now = timestamp_pb2.Timestamp()
        now.GetCurrentTime()
        self.run.last_sequence = len(self.events) + 1
        self.events.append(pb.TrainingEvent(sequence=self.run.last_sequence, time=now, **kind))
        self.news.set()  # wakes the watches; the next event has its own
        self.news = asyncio.Event()
        return now

    def go(self, state, failure=0):
        if state > PAUSED and self.run.HasField("cost"):  # what has ended has its final cost (C-8.2)
            self.spend()
        wait = pb.WAIT_REASON_NO_FREE_SLOT if state == QUEUED else 0
        change = pb.StateChanged(to=state, wait_reason=wait, failure=failure)
        setattr(change, "from", self.run.state)
        now = self.add(state_changed=change)
        self.run.state, self.run.wait_reason, self.run.failure = state, wait, failure
        if state == PREPARING:
            self.began, self.run.device = time.monotonic(), "cpu"
            self.spend()
        elif state == RUNNING:
            self.run.start_time.CopyFrom(now)
        elif state > PAUSED:
            self.run.end_time.CopyFrom(now)

    def spend(self):
        self.run.cost.device_seconds = time.monotonic() - self.began
        self.add(cost=self.run.cost)

    async def work(self):
        """Trains up to each size, and evaluates there."""
        spec, done = self.run.spec, 0
        for size in spec.data_sizes:
            while done < size:
                await asyncio.sleep(0.02)
                done = min(size, done + 1_000)
                self.run.progress.CopyFrom(pb.Progress(step=done // 8, total_steps=max(1, spec.data_sizes[-1] // 8)))
                self.add(progress=self.run.progress)
            noise = random.Random(f"{spec.model.uri} {spec.seed} {spec.subset_seed} {size}").gauss(0, 0.01)
            loss = 1.5 + 3 / (1 + size**0.3) + noise
            one = pb.Evaluation(kind=pb.EVALUATION_KIND_HELD_OUT, data_size=size, loss=loss, tokens=9_000, examples=100)
            self.run.evaluations.append(one)
            self.add(evaluation=one)
            self.spend()


class Trainer(rpc.TrainerServiceServicer):
    def __init__(self):
        self.runs, self.created = {}, 0

    def in_state(self, *states):
        return [run for run in self.runs.values() if run.run.state in states]

    async def find(self, request, context):
        run_id = request.training_run_id
        if not contract.is_id(run_id):
            await contract.invalid(context, ["training_run_id"])
        if run_id not in self.runs:
            await contract.not_found(context, run_id)
        return self.runs[run_id]

    def dispatch(self):
        """Gives free slots to the runs that wait longest."""
        free = SLOTS - len(self.in_state(PREPARING, RUNNING))
        for run in self.in_state(QUEUED)[: max(0, free)]:
            run.go(PREPARING)
            run.task = asyncio.create_task(self.train(run))

    async def train(self, run):
        try:
            await asyncio.sleep(0.05)  # fetching model and data
            run.go(RUNNING)
            limit = run.run.spec.max_duration
            limited = run.run.spec.HasField("max_duration")
            await asyncio.wait_for(run.work(), limit.seconds + limit.nanos / 1e9 if limited else None)
            run.go(SUCCEEDED)
        except asyncio.TimeoutError:
            run.go(FAILED, pb.TRAINING_FAILURE_DEADLINE_EXCEEDED)
        except Exception:  # a defect of ours, not of the candidate
            run.go(FAILED, pb.TRAINING_FAILURE_INTERNAL)
        self.dispatch()

    async def GetTrainerInfo(self, request, context):
        queued, active = len(self.in_state(QUEUED)), len(self.in_state(PREPARING, RUNNING))
        return api.GetTrainerInfoResponse(
            name="dev.finepick.example-python",
            version="0.1.0",
            contract_versions=["v1"],
            instance_id=INSTANCE,
            devices=[api.Device(name="cpu", slots=SLOTS)],
            ready=True,
            queued_runs=queued,
            active_runs=active,
            queue_limit=QUEUE_LIMIT,
        )

    async def ListCapabilities(self, request, context):
        return api.ListCapabilitiesResponse(
            methods=METHODS.values(),
            precisions=["fp32"],
            nested_subsets=True,
            deterministic_seeds=True,
            heartbeat_interval=duration_pb2.Duration(seconds=HEARTBEAT_SECONDS),
        )

    async def EstimateTrainingRun(self, request, context):
        await contract.unmet(context, "CAPABILITY_MISSING", "estimate", "estimates are not claimed")

    async def PauseTrainingRun(self, request, context):
        await contract.unmet(context, "CAPABILITY_MISSING", "pause", "pause is not claimed")

    ResumeTrainingRun = PauseTrainingRun

    async def CreateTrainingRun(self, request, context):
        run_id, spec = request.training_run_id, request.spec
        if paths := contract.wrong(request):
            await contract.invalid(context, paths)
        if run_id in self.runs:
            if self.runs[run_id].sent != spec:
                await contract.exists(context, run_id)
            return api.CreateTrainingRunResponse(run=self.runs[run_id].run)
        if path := unclaimed(spec):
            await contract.unmet(context, "CAPABILITY_MISSING", path, f"{path} needs what is not claimed")
        if len(self.in_state(QUEUED)) >= QUEUE_LIMIT:
            await contract.queue_full(context)
        for old in self.in_state(*range(SUCCEEDED, LOST + 1))[:-KEPT_RUNS]:  # forgets the oldest (C-11.7)
            del self.runs[old.run.training_run_id]
        self.created += 1
        self.runs[run_id] = run = Run(run_id, spec, self.created)
        answer = api.CreateTrainingRunResponse(run=run.run)  # a copy, still QUEUED
        self.dispatch()
        return answer

    async def GetTrainingRun(self, request, context):
        return api.GetTrainingRunResponse(run=(await self.find(request, context)).run)

    async def ListTrainingRuns(self, request, context):
        token, size = request.page_token, request.page_size
        paths = [] if 0 <= size <= 1_000 else ["page_size"]
        paths += [] if re.fullmatch(r"[0-9]{0,18}", token) else ["page_token"]
        paths += [f"states[{i}]" for i, state in enumerate(request.states) if not QUEUED <= state <= LOST]
        if paths:
            await contract.invalid(context, paths)
        rest = self.in_state(*(request.states or range(1, 10)))
        rest = [run for run in reversed(rest) if not token or run.number < int(token)]
        page, most = rest[: min(size or 50, 50)], len(rest)  # 50 of the largest runs stay below 4 MiB (C-14.2)
        token = str(page[-1].number) if len(page) < most else ""
        return api.ListTrainingRunsResponse(runs=[run.run for run in page], next_page_token=token)

    async def DeleteTrainingRun(self, request, context):
        run = await self.find(request, context)
        if run.run.state < SUCCEEDED:
            await contract.unmet(context, "WRONG_STATE", request.training_run_id, "the run has not ended")
        del self.runs[request.training_run_id]
        return api.DeleteTrainingRunResponse()

    async def CancelTrainingRun(self, request, context):
        run = await self.find(request, context)
        if run.run.state < SUCCEEDED:
            if run.task:
                run.task.cancel()
            run.go(CANCELLED)
            self.dispatch()
        return api.CancelTrainingRunResponse(run=run.run)

    async def WatchTrainingRun(self, request, context):
        run, sent = await self.find(request, context), request.after_sequence
        if not 0 <= sent <= len(run.events):
            await contract.invalid(context, ["after_sequence"])
        while True:
            news = run.news
            while sent < len(run.events):
                yield api.WatchTrainingRunResponse(event=run.events[sent])
                sent += 1
            if run.events[-1].state_changed.to > PAUSED:
                return
            try:
                await asyncio.wait_for(news.wait(), HEARTBEAT_SECONDS)
            except asyncio.TimeoutError:
                yield api.WatchTrainingRunResponse(event=pb.TrainingEvent(sequence=sent, heartbeat=pb.Heartbeat()))


async def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=50063, help="0: any that is free")
    server, health = grpc.aio.server(), HealthServicer()
    port = server.add_insecure_port(f"127.0.0.1:{parser.parse_args().port}")
    rpc.add_TrainerServiceServicer_to_server(Trainer(), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for name in ("", SERVICE):
        await health.set(name, health_pb2.HealthCheckResponse.SERVING)
    reflection.enable_server_reflection((SERVICE, reflection.SERVICE_NAME), server)
    await server.start()
    print(f"listening on http://127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
