"""A process of trials that trains nothing: the deeper the better, until it is too deep."""

import json
import os
import sys
import time


def main() -> None:
    """Answer each trial as its settings say."""
    sys.stdin.readline()
    for line in sys.stdin:
        depth = json.loads(line)["settings"].get("train.estimator_arguments.max_depth", 3)
        time.sleep(0.2)
        if depth > 50:
            os._exit(9)
        told = {"event": "done", "score": depth / 10}
        if depth > 10:
            told = {"event": "failed", "why": f"{depth} is too deep"}
        print(json.dumps({**told, "seconds": 0.2}), flush=True)


if __name__ == "__main__":
    main()
