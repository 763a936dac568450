"""How soon a watch of a selection goes on: broken streams, and a selector that was killed.

    .venv/bin/python bench/selections/watch.py --finepick target/release/finepick [--watches 200]

Starts `finepick up` with the simulated trainer (slow, so that the selection outlives the measurement), breaks watches of one selection
and opens them again at their cursors: the time until the events come that were missed. Then kills the suite with -9 and starts it again:
the time from then until the watch has its next event, the start of the processes and the lease of the dead selector included.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def modules(folder):
    """The contracts' Python modules, importable."""
    areas = ["types", "fitter", "trainer", "selector"]
    protos = [str(path) for area in areas for path in (ROOT / "proto/finepick" / area / "v1").glob("*.proto")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I", str(ROOT / "proto"), f"--python_out={folder}", f"--grpc_python_out={folder}"]
    subprocess.run(command + protos, check=True)
    sys.path[:0] = [str(folder), str(ROOT / "examples/python")]


def suite(finepick, folder, listen):
    """`finepick up`, and its address."""
    port = folder / "port"
    port.unlink(missing_ok=True)
    command = [finepick, "up", "--listen", listen, "--port-file", str(port), "--trainer", "simulated", "--set",
               f"store.path={folder / 'selections.db'}", "--set", "selector.lease=1s", "--set", "selector.poll_interval=100ms", "--set",
               "trainer.simulation.speed=2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not port.exists() or not port.read_text().strip():
        if process.poll() is not None:
            sys.exit("finepick up has ended")
        time.sleep(0.002)
    return process, port.read_text().strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--finepick", required=True)
    parser.add_argument("--watches", type=int, default=200)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        modules(folder)
        import finepick_select
        import grpc
        from finepick.selector.v1 import selector_service_pb2 as messages
        from finepick.selector.v1 import selector_service_pb2_grpc as services

        process, address = suite(arguments.finepick, folder, "127.0.0.1:0")
        try:
            client = services.SelectorServiceStub(grpc.insecure_channel(address))
            models = [f"m{index}=sim://model-{index}-{20 + index}m" for index in range(30)]
            wish = argparse.Namespace(model=models, data="sim://data", full_size=1 << 20, budget_share=0.5)
            request = messages.CreateSelectionRequest(selection_id="watched", spec=finepick_select.spec_of(wish))
            client.CreateSelection(request, timeout=30)

            def next_event(after, address=None):
                """Its sequence, and after how long it came."""
                begin = time.perf_counter()
                while True:
                    to = services.SelectorServiceStub(grpc.insecure_channel(address)) if address else client
                    stream = to.WatchSelection(messages.WatchSelectionRequest(selection_id="watched", after_sequence=after))
                    try:
                        for response in stream:
                            if response.event.sequence > after:
                                stream.cancel()
                                return response.event.sequence, time.perf_counter() - begin
                    except grpc.RpcError as error:
                        if error.code() != grpc.StatusCode.UNAVAILABLE:
                            raise
                        time.sleep(0.01)

            seen = 0
            while seen < 4:
                seen, _ = next_event(seen)
            times = sorted(next_event(index % 4)[1] for index in range(arguments.watches))
            print(f"{len(times)} broken watches go on after: median {statistics.median(times) * 1e3:.2f} ms, "
                  f"99 of 100 within {times[len(times) * 99 // 100 - 1] * 1e3:.2f} ms, all within {times[-1] * 1e3:.2f} ms")
            process.kill()
            process.wait()
            begin = time.perf_counter()
            process, address = suite(arguments.finepick, folder, address)
            start = time.perf_counter() - begin
            _, took = next_event(3, address)
            print(f"after kill -9 of the suite: it listens again after {start * 1e3:.0f} ms, the watch goes on {took * 1e3:.0f} ms later")
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main()
