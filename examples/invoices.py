"""The program of the Go library's README: a producer of invoices, a consumer that takes up to ten at a time.

The Go program is given in pieces and loops for ever; this one is whole, and ends when no invoice has come for
a second. Each batch is handled by a thread of a pool, as each is by a goroutine there.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import jobq

TOPIC = "invoices"


def produce(svc: jobq.JobService) -> None:
    for number in range(1, 31):
        email = "" if number % 10 == 0 else f"user{number}@example.org"
        invoice = {"user_id": f"u{number}", "email": email, "invoice_id": 987_000 + number}
        svc.enqueue(TOPIC, json.dumps(invoice).encode())


def handle(jobs: list[jobq.Job]) -> None:
    for job in jobs:
        invoice = json.loads(job.payload)
        if not invoice["email"]:
            job.cancel(error="no address to send to")  # given up for good: a dead letter
        elif invoice["invoice_id"] % 7 == 0 and job.attempt == 1:
            job.retry(error="printer out of paper")  # again after the backoff
        else:
            job.done()
    print(f"handled {len(jobs):2} invoices, the first is job {jobs[0].id} at attempt {jobs[0].attempt}")


def main() -> None:
    defaults = jobq.JobOptions(min_backoff=0.2, max_retries=5)
    with jobq.JobService(jobq.Memory(), jobq.Memory(), defaults=defaults) as svc:
        produce(svc)
        with ThreadPoolExecutor(4) as pool:
            # Wait at most a second for up to ten jobs; as soon as there is one, the wait is over.
            batches = []
            while jobs := svc.reserve(TOPIC, 10, timeout=1):
                batches.append(pool.submit(handle, jobs))
            for batch in batches:
                batch.result()  # raises what handling it raised
        for info in svc.find(jobq.Status.CANCELED, topic=TOPIC):
            print(f"job {info.id} is a dead letter: {info.error}")
        stats = svc.topic_stats(TOPIC)
        ended = f"{stats.completions} sent, {stats.dead} dead letters"
        print(f"{stats.enqueued} invoices: {ended}, {stats.retries} retries")


if __name__ == "__main__":
    main()
