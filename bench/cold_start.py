"""A cold container: from nothing but the interpreter to the first response.

    python bench/cold_start.py RESULT FUNCTION EVENT     in the environment of the functions

FUNCTION: a folder of functions/, or `floor`: what nothing here can save, with no request at all.
"""

import sys
import time

started = time.perf_counter(), time.process_time()
before = len(sys.modules)


class Context:
    aws_request_id = "1"
    function_name = "bench"

    def get_remaining_time_in_millis(self) -> int:
        return 10_000


def floor() -> object:
    import boto3
    import jwt  # noqa: F401 - that it is there is what is measured

    boto3.client("dynamodb")
    return None


def request(function: str, event: str) -> object:
    import json
    import runpy

    handler = runpy.run_path(f"functions/{function}/app.py")["handler"]
    with open(event, encoding="utf-8") as file:  # noqa: PTH123 - pathlib would be an import
        return handler(json.load(file), Context())


result, function, event = sys.argv[1:]
answer = request(function, event) if function != "floor" else floor()
wall, cpu = time.perf_counter() - started[0], time.process_time() - started[1]
modules = sorted(set(sys.modules))

import json  # noqa: E402 - not what is measured

with open(result, "w", encoding="utf-8") as file:  # noqa: PTH123 - as above
    found = {"wall": wall * 1000, "cpu": cpu * 1000, "modules": modules, "answer": answer}
    json.dump(found, file)
