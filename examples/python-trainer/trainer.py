"""A trainer in Python: what it is, what it can do, and what a run does. It sleeps where a real one trains.

    pip install grpcio grpcio-tools grpcio-health-checking grpcio-reflection grpcio-status
    python -m grpc_tools.protoc -I proto --python_out=build --grpc_python_out=build $(find proto -name '*.proto')
    PYTHONPATH=build python examples/python-trainer/trainer.py --port 50063
    finepick-conformance --target http://127.0.0.1:50063

To make it yours, copy the folder and replace what `SleepingTrainer` says and does. The modules beside it,
finepick_plugin.py and contract.py, hold what docs/plugin-contract.md asks of every trainer, whatever it trains.
"""

import random
import time
from collections.abc import Iterator

from finepick.trainer.v1 import trainer_service_pb2 as api
from finepick.trainer.v1.run_pb2 import TRAINING_FAILURE_MODEL_UNREADABLE, Evaluation, Progress, TrainingRunSpec
from finepick.types.v1.money_pb2 import Money
from finepick_plugin import Backend, Step, TrainingFailed, main

BATCH_SIZE = 8
BATCHES_A_NAP = 125


class SleepingTrainer(Backend):
    """Two runs at a time on the CPU; the losses follow a power law with some noise."""

    # Who it is, and where it runs.
    name = "com.example.sleeping-trainer"
    version = "0.1.0"
    devices = [api.Device(name="cpu", description="sleeps, and needs no device", slots=2)]
    queue_limit = 16

    # What it can do. What is not claimed here is refused for us.
    capabilities = api.ListCapabilitiesResponse(
        methods=[api.METHOD_KIND_FULL, api.METHOD_KIND_LORA],
        precisions=["fp32"],
        nested_subsets=True,
        deterministic_seeds=True,
        data_size_max=2_000_000_000,
        prices=[
            api.Price(
                unit=api.PRICE_UNIT_DEVICE_SECOND,
                device="cpu",
                price=Money(currency_code="EUR", nanos=10_000_000),
            )
        ],
    )

    def fill_in_defaults(self, spec: TrainingRunSpec) -> None:
        """Callers see in `TrainingRun.spec` what they left to us."""
        hyper = spec.hyperparameters
        if not hyper.HasField("steps"):
            hyper.epochs = hyper.epochs or 1
        if not hyper.HasField("batch_size"):
            hyper.batch_size = BATCH_SIZE

    def train(self, spec: TrainingRunSpec) -> Iterator[Step]:
        """Trains up to each size and yields the held-out loss there.

        This is a plain generator in a thread of its own, so it may block. The run is RUNNING from the first yield on.
        A run that is cancelled stops at a yield, so yield at least every few seconds.
        """
        if spec.model.uri.startswith("missing:"):
            raise TrainingFailed(TRAINING_FAILURE_MODEL_UNREADABLE, "there is no such model")
        time.sleep(0.05)  # load the model and the data here
        total_steps = max(1, spec.data_sizes[-1] // BATCH_SIZE)
        yield Progress(step=0, total_steps=total_steps)

        examples_seen = 0
        for size in spec.data_sizes:
            while examples_seen < size:
                time.sleep(0.02)  # take some optimizer steps here
                examples_seen = min(size, examples_seen + BATCH_SIZE * BATCHES_A_NAP)
                yield Progress(step=examples_seen // BATCH_SIZE, total_steps=total_steps)
            loss = self.held_out_loss(spec, size)  # evaluate here
            yield Evaluation(data_size=size, loss=loss, tokens=9_000, examples=100)

    def held_out_loss(self, spec: TrainingRunSpec, size: int) -> float:
        """Equal specs have equal losses: that is what `deterministic_seeds` claims."""
        noise = random.Random(f"{spec.model.uri} {spec.seed} {spec.subset_seed} {size}").gauss(0, 0.01)
        return 1.5 + 3 / (1 + size**0.3) + noise


if __name__ == "__main__":
    main(SleepingTrainer())
