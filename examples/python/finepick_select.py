"""Chooses a checkpoint through a finepick gateway: a selection that trainers work off, with nothing but grpcio.

Stubs are generated from the contracts, once (see finepick_client.py). Then, with `finepick up --trainer simulated` running:

    PYTHONPATH=build python examples/python/finepick_select.py --target localhost:50060 --data sim://data --full-size 4096 \
        --model a=sim://tiny-20m --model b=sim://small-160m

It creates the selection, follows its events by a cursor (a broken stream loses nothing), and prints the report.
"""

import argparse
import json
import sys
import time

import grpc

from finepick.selector.v1 import selection_pb2, selector_service_pb2, selector_service_pb2_grpc
from finepick.trainer.v1 import run_pb2
from finepick.types.v1 import curve_pb2

ENDED = {
    selection_pb2.SELECTION_STATE_SUCCEEDED,
    selection_pb2.SELECTION_STATE_BUDGET_EXHAUSTED,
    selection_pb2.SELECTION_STATE_FAILED,
    selection_pb2.SELECTION_STATE_CANCELLED,
}


def spec_of(arguments):
    """What is asked for: the candidates, the data, and a tenth of what trying all would cost."""
    candidates = []
    for model in arguments.model:
        name, uri = model.split("=", 1)
        candidates.append(
            selection_pb2.SelectionCandidate(
                candidate=curve_pb2.Candidate(candidate_id=name), model=run_pb2.Reference(uri=uri)
            )
        )
    return selection_pb2.SelectionSpec(
        candidates=candidates,
        methods=[selection_pb2.SelectionMethod(tuning=run_pb2.TuningMethod(full=run_pb2.FullTuning()))],
        data=run_pb2.Reference(uri=arguments.data),
        data_size_full=arguments.full_size,
        budget=selection_pb2.SelectionBudget(exhaustive_fraction=arguments.budget_share),
        reuse=selection_pb2.REUSE_POLICY_NEVER,
    )


def follow(stub, selection_id, patience):
    """The events in their order, each once, whatever happens to the stream, until the selection has ended."""
    cursor, deadline = 0, time.monotonic() + patience
    while time.monotonic() < deadline:
        request = selector_service_pb2.WatchSelectionRequest(selection_id=selection_id, after_sequence=cursor)
        try:
            for response in stub.WatchSelection(request, timeout=patience):
                event = response.event
                deadline = time.monotonic() + patience
                cursor = max(cursor, event.sequence)
                yield event
                if event.WhichOneof("kind") == "changed" and event.changed.selection.state in ENDED:
                    return
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED):
                raise
        time.sleep(0.2)
    raise TimeoutError(f"selection {selection_id} gives no sign of life")


def told(event):
    """An event in a line, or nothing."""
    kind = event.WhichOneof("kind")
    if kind == "decision":
        return f"round {event.decision.round}: {event.decision.explanation}"
    if kind == "trial" and event.trial.state == selection_pb2.TRIAL_STATE_OBSERVED:
        trial = event.trial
        return f"{trial.candidate_id} at {trial.data_size} examples: loss {trial.observation.test_loss:.4f}"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, help="host:port of the gateway")
    parser.add_argument("--model", action="append", required=True, metavar="NAME=URI")
    parser.add_argument("--data", required=True)
    parser.add_argument("--full-size", type=int, required=True)
    parser.add_argument("--budget-share", type=float, default=0.1)
    parser.add_argument("--id", default="", help="the same id with the same question is the same selection")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds without a sign of life")
    arguments = parser.parse_args()

    with grpc.insecure_channel(arguments.target) as channel:
        stub = selector_service_pb2_grpc.SelectorServiceStub(channel)
        request = selector_service_pb2.CreateSelectionRequest(selection_id=arguments.id, spec=spec_of(arguments))
        selection = stub.CreateSelection(request, timeout=30).selection
        sequences = []
        for event in follow(stub, selection.selection_id, arguments.patience):
            sequences.append(event.sequence)
            line = told(event)
            if line:
                print(line, file=sys.stderr)
        request = selector_service_pb2.GetReportRequest(selection_id=selection.selection_id)
        report = stub.GetReport(request, timeout=30).report
    json.dump(
        {
            "id": report.selection_id,
            "state": selection_pb2.SelectionState.Name(report.state),
            "choice": report.choice.candidate_id,
            "ranking": [[contender.candidate_id, contender.predicted_loss] for contender in report.contenders],
            "spent_examples": report.spent.examples,
            "in_order": sequences == sorted(sequences),
        },
        sys.stdout,
        indent=2,
    )
    print()


if __name__ == "__main__":
    main()
