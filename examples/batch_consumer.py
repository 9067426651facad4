"""The Go library's batch consumer: batches of 25 beside a producer of 100 jobs with random weights.

At the end it lists the jobs by status and prints the statistics of each topic.
"""

import random
import threading
import time
from dataclasses import asdict

import jobq

TOPIC = "demo"
BATCH = 25


def produce(svc: jobq.JobService) -> None:
    """Enqueue 100 jobs, a little while apart; weights are spread over the whole range."""
    for _ in range(100):
        time.sleep(random.uniform(0, 0.02))
        weight = random.randint(-32_768, 32_767)  # -10 is more urgent than 10
        svc.enqueue(TOPIC, b"email@domain.tld", weight)


def consume(svc: jobq.JobService) -> None:
    """Every quarter of a second take what has gathered, 25 at most; end after two rounds without a job."""
    empty_rounds = 0
    while empty_rounds < 2:
        time.sleep(0.25)
        jobs = svc.reserve(TOPIC, BATCH, timeout=0)
        if not jobs:
            empty_rounds += 1
            continue
        ids = ", ".join(f"#{job.id}" for job in jobs)
        print(f"batch of {len(jobs):2}, weights {jobs[0].weight:6} to {jobs[-1].weight:6}: {ids}")
        svc.done_many(jobs)


def main() -> None:
    with jobq.JobService(jobq.Memory(), jobq.Memory()) as svc:
        consumer = threading.Thread(target=consume, args=(svc,))
        consumer.start()
        produce(svc)
        consumer.join()

        print()
        for status in jobq.Status:
            print(f"{len(list(svc.find(status))):3} jobs are {status}")
        for topic in svc.topics():
            print(f"\ntopic {topic}")
            for name, value in asdict(svc.topic_stats(topic)).items():
                if value:
                    print(f"  {name:18} {value}")


if __name__ == "__main__":
    main()
