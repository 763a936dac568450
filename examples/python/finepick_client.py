"""Ranks candidates and fits a curve through a finepick gateway, with nothing but grpcio.

Stubs are generated from the contracts, once:

    pip install grpcio-tools grpcio-status
    python -m grpc_tools.protoc -I proto --python_out=build --grpc_python_out=build $(find proto -name '*.proto')
    PYTHONPATH=build python examples/python/finepick_client.py --target localhost:50051 --curves demo/curves.csv \
        --budget-size 16000 --full-size 1024000

It prints the ranking, the best candidate's fitted law, and what the server says of a wrong request.
"""

import argparse
import csv
import json
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from finepick.fitter.v1 import fit_pb2, fitter_service_pb2, fitter_service_pb2_grpc, law_pb2
from finepick.selector.v1 import policy_pb2, selector_service_pb2, selector_service_pb2_grpc
from finepick.types.v1 import curve_pb2

# Asks grpc to retry what the servers mark as safe to retry: UNAVAILABLE.
SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def read_candidates(path):
    """One CandidateCurve a row of a wide CSV file."""
    candidates = []
    with open(path, newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name_column = next(iter(row))
            sizes = sorted(int(column) for column in row if column.isdigit() and row[column])
            candidates.append(
                selector_service_pb2.CandidateCurve(
                    candidate=curve_pb2.Candidate(
                        candidate_id=row[name_column],
                        family=row.get("family", ""),
                        parameters=int(float(row["size"])) if row.get("size") else None,
                    ),
                    observations=[
                        curve_pb2.Observation(data_size=size, test_loss=float(row[str(size)])) for size in sizes
                    ],
                )
            )
    return candidates


def rank(channel, candidates, budget_size, full_size, timeout):
    """The ranking by the pooled local linear trend."""
    stub = selector_service_pb2_grpc.SelectorServiceStub(channel)
    request = selector_service_pb2.RankCandidatesRequest(
        candidates=candidates,
        data_size_budget=budget_size,
        data_size_full=full_size,
        policy=policy_pb2.RankingPolicy(local_trend=policy_pb2.LocalTrendPolicy()),
    )
    return stub.RankCandidates(request, timeout=timeout)


def fit(channel, candidate, full_size, timeout):
    """The rectified law fitted to all points of one candidate."""
    stub = fitter_service_pb2_grpc.FitterServiceStub(channel)
    request = fitter_service_pb2.FitCurveRequest(
        curve=curve_pb2.LearningCurve(candidate=candidate.candidate.candidate_id, observations=candidate.observations),
        options=fit_pb2.FitOptions(law=law_pb2.LAW_RECTIFIED, predict_data_sizes=[full_size]),
    )
    return stub.FitCurve(request, timeout=timeout).fit


def explain(error):
    """The google.rpc details of a failed call, as a dictionary."""
    answer = {"code": error.code().name, "message": error.details(), "reason": None, "violations": []}
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info, bad_request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            answer["reason"] = info.reason
        elif detail.Unpack(bad_request):
            answer["violations"] = [violation.field for violation in bad_request.field_violations]
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", required=True, help="host:port of the gateway")
    parser.add_argument("--curves", required=True, help="wide CSV file")
    parser.add_argument("--budget-size", type=int, required=True)
    parser.add_argument("--full-size", type=int, required=True)
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds a call may take")
    arguments = parser.parse_args()

    candidates = read_candidates(arguments.curves)
    with grpc.insecure_channel(arguments.target, options=[("grpc.service_config", SERVICE_CONFIG)]) as channel:
        ranking = rank(channel, candidates, arguments.budget_size, arguments.full_size, arguments.timeout)
        best = ranking.candidates[0]
        by_name = {candidate.candidate.candidate_id: candidate for candidate in candidates}
        law = fit(channel, by_name[best.candidate_id], arguments.full_size, arguments.timeout)
        try:
            rank(channel, candidates, -1, arguments.full_size, arguments.timeout)
            refusal = None
        except grpc.RpcError as error:
            refusal = explain(error)
    json.dump(
        {
            "ranking": [candidate.candidate_id for candidate in ranking.candidates],
            "predicted_loss": best.predicted_loss,
            "interval": [best.interval.lower, best.interval.upper],
            "win_share": best.win_share,
            "law": {coefficient.name: coefficient.value for coefficient in law.coefficients},
            "verdict": fit_pb2.Verdict.Name(law.verdict),
            "refusal": refusal,
        },
        sys.stdout,
        indent=2,
    )
    print()


if __name__ == "__main__":
    main()
