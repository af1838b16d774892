"""An official SDK for Python as the harness of e2e sees it; node.mjs says how it is spoken to.

    python python.py segment|rudder HOST WRITE_KEY

It reports failures only: what it does not name when it has flushed, it delivered.
"""

import logging
import sys

kind, host, write_key = sys.argv[1:]
failed = set()


def on_error(_error, batch):
    failed.update(message["properties"]["step"] for message in batch if message["type"] == "track")


if kind == "segment":
    from segment.analytics.client import Client
else:
    from rudderstack.analytics.client import Client
logging.disable(logging.CRITICAL)  # every failed attempt is an error to them
client = Client(write_key, host=host, upload_size=10, upload_interval=0.2, on_error=on_error)

taken = []
for line in sys.stdin:
    user, n, step = line.split()
    if n == "-1":  # one of each of the other calls
        client.identify(user, {"planName": "pro"})
        client.group(user, "g1", {"seatCount": 5})
        client.page(user, "Shop", "Home", {"pageKind": "shop"})
        client.alias(user, user + "-new")
    else:
        ok, _ = client.track(user_id=user, event="Step", properties={"n": int(n), "step": step}, message_id=step)
        if ok:
            taken.append(step)
    print("ok", step, flush=True)
client.shutdown()
for step in taken:
    if step not in failed:
        print("delivered", step)
print("closed", flush=True)
