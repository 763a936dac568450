"""The contract's ranges and errors, for finepick_plugin.py. docs/plugin-contract.md, C-3.7, C-3.9 and C-13."""

import re
from typing import Any, NoReturn

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2 as details
from google.rpc import status_pb2

from finepick.trainer.v1 import run_pb2 as pb
from finepick.trainer.v1 import trainer_service_pb2 as api

Context = grpc.aio.ServicerContext

TINY, HUGE = 5e-324, 1.7976931348623157e308


async def refuse(context: Context, code: grpc.StatusCode, reason: str, message: str, detail: Any) -> NoReturn:
    """Ends a call with ErrorInfo and one more detail (C-13.1, C-13.2)."""
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(details.ErrorInfo(reason=reason, domain="finepick.dev"))
    status.details.add().Pack(detail)
    await context.abort(code, message, (("grpc-status-details-bin", status.SerializeToString()),))


async def invalid(context: Context, paths: list[str]) -> NoReturn:
    """INVALID_FIELD, with the paths of the fields."""
    violations = [{"field": path, "description": "is out of range"} for path in paths[:20]]
    bad = details.BadRequest(field_violations=violations)
    await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", f"{paths[0]} is out of range", bad)


async def unmet(context: Context, reason: str, subject: str, message: str) -> NoReturn:
    """CAPABILITY_MISSING with the path of the field, or WRONG_STATE with the id."""
    failure = details.PreconditionFailure(violations=[{"type": reason, "subject": subject, "description": message}])
    await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, reason, message, failure)


async def not_found(context: Context, run_id: str) -> NoReturn:
    await about(context, grpc.StatusCode.NOT_FOUND, "TRAINING_RUN_NOT_FOUND", run_id, "no training run has this id")


async def exists(context: Context, run_id: str) -> NoReturn:
    await about(context, grpc.StatusCode.ALREADY_EXISTS, "TRAINING_RUN_EXISTS", run_id, "the id has another spec")


async def about(context: Context, code: grpc.StatusCode, reason: str, run_id: str, message: str) -> NoReturn:
    info = details.ResourceInfo(resource_type="finepick.dev/TrainingRun", resource_name=run_id, description=message)
    await refuse(context, code, reason, message, info)


async def busy(context: Context, reason: str, message: str) -> NoReturn:
    """QUEUE_FULL or TRAINER_NOT_READY: callers repeat after a while."""
    retry = details.RetryInfo(retry_delay=duration_pb2.Duration(nanos=200_000_000))
    await refuse(context, grpc.StatusCode.UNAVAILABLE, reason, message, retry)


def is_id(run_id: str) -> bool:
    """Whether it may be the id of a run (C-3.7)."""
    return re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}", run_id) is not None


def wrong(request: api.CreateTrainingRunRequest) -> list[str]:
    """Paths of the fields of a create that are out of their ranges (C-3.9); the ranges are in run.proto."""
    paths = wrong_spec(request)
    paths += [] if is_id(request.training_run_id) else ["training_run_id"]
    return paths + ([] if len(request.request_id.encode()) <= 128 else ["request_id"])


def wrong_spec(request: Any) -> list[str]:
    """The same, of the spec of a create or of an estimate."""
    return wrong_in(request.spec) if request.HasField("spec") else ["spec"]


def wrong_in(spec: pb.TrainingRunSpec) -> list[str]:

    def text(value: str, least: int = 1, most: int = 256) -> bool:
        return least <= len(value.encode()) <= most

    def optional(message: Any, field: str, low: float, high: float) -> bool:  # NaN is in no range
        return not message.HasField(field) or low <= getattr(message, field) <= high

    method, hyper = spec.method.WhichOneof("kind"), spec.hyperparameters
    sizes, sets = spec.data_sizes, spec.retention_sets
    rows = [("spec.candidate_id", text(spec.candidate_id)), ("spec.method", method is not None)]
    rows += [(f"spec.{name}", spec.HasField(name)) for name in ("model", "data")]
    named = ("model", "data", "held_out", "initial_adapter")
    references = {f"spec.{name}": getattr(spec, name) for name in named if spec.HasField(name)}
    references |= {f"spec.retention_sets[{i}].data": one.data for i, one in enumerate(sets)}
    rows += [(f"{path}.uri", text(reference.uri, most=2048)) for path, reference in references.items()]
    rows += [("spec.data_sizes", 1 <= len(sizes) <= 64), ("spec.retention_sets", len(sets) <= 16)]
    rows += [(f"spec.data_sizes[{i}]", size > (sizes[i - 1] if i else -1)) for i, size in enumerate(sizes)]
    names = [one.name for one in sets]
    rows += [(f"spec.retention_sets[{i}].name", text(name) and name not in names[:i]) for i, name in enumerate(names)]
    if method == "lora":
        lora = spec.method.lora
        rows += [("spec.method.lora.rank", 1 <= lora.rank <= 4096)]
        rows += [("spec.method.lora.alpha", optional(lora, "alpha", TINY, HUGE))]
        rows += [("spec.method.lora.dropout", optional(lora, "dropout", 0, 1 - 2**-53))]
    if method == "prompt":
        rows += [("spec.method.prompt.length", 1 <= spec.method.prompt.length <= 4096)]
    ranges = {"epochs": (1, 10_000), "steps": (1, 2**31 - 1), "batch_size": (1, 2**20), "sequence_length": (1, 2**20)}
    ranges |= {"learning_rate": (TINY, HUGE), "warmup_ratio": (0, 1), "weight_decay": (0, HUGE)}
    ranges |= {"clip_norm": (TINY, HUGE), "gradient_accumulation": (1, 2**16), "patience": (1, 10_000)}
    rows += [(f"spec.hyperparameters.{name}", optional(hyper, name, *ends)) for name, ends in ranges.items()]
    rows += [("spec.hyperparameters.steps", not (hyper.HasField("epochs") and hyper.HasField("steps")))]
    rows += [("spec.hyperparameters.schedule", hyper.schedule in ("", "constant", "linear", "cosine"))]
    rows += [("spec.hyperparameters.order", hyper.order in pb.ExampleOrder.values())]
    rows += [("spec.initial_adapter", method != "full" or not spec.HasField("initial_adapter"))]
    limit = spec.max_duration
    rows += [("spec.max_duration", not spec.HasField("max_duration") or limit.seconds * 10**9 + limit.nanos > 0)]
    rows += [("spec.labels", len(spec.labels) <= 64)]
    rows += [("spec.labels", text(key, 0) and text(value, 0)) for key, value in spec.labels.items()]
    return [path for path, holds in rows if not holds]
