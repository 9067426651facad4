"""The Go library's second example: one job on its way through ready, retry, cancel and reset."""

import jobq

TOPIC = "demo"


def show(svc: jobq.JobService, what: str) -> None:
    """Print which jobs stand where."""
    stand = {status.value: [info.id for info in svc.find(status)] for status in jobq.Status}
    print(f"{what:38}", " ".join(f"{status} {ids}" for status, ids in stand.items() if ids))


def main() -> None:
    options = jobq.JobOptions(log_status_change=True)
    with jobq.JobService(jobq.Memory(), jobq.Memory()) as svc:
        id = svc.enqueue(TOPIC, b"email@domain.tld", delay=0.3, options=options)
        show(svc, "enqueued with a delay of 0.3 s")

        job = svc.reserve_one(TOPIC)  # waits until the job is due
        job.log("attempt %d", job.attempt)
        show(svc, f"reserved under token {job.token}")

        job.retry(0.3, error="no answer")
        show(svc, "to be retried in 0.3 s")

        (job,) = svc.reserve(TOPIC, 3, timeout=5)  # up to three jobs within five seconds: one is there
        job.log("attempt %d", job.attempt)
        show(svc, f"reserved under token {job.token}")

        job.cancel(error="no such address")
        show(svc, "canceled by its holder")
        try:
            job.done()
        except jobq.LeaseLost as error:
            print("  done() now:", error)

        svc.reset(id)
        show(svc, "reset by its id")

        with svc.reserve_one(TOPIC) as job:
            show(svc, f"reserved under token {job.token}")
        show(svc, "done at the end of its block")

        info = svc.info(id)
        print(f"\njob {id}: {info.attempts} attempts, {info.resets} reset, its last error {info.error!r}")
        for entry in info.log:
            print(f"  {entry.at:%H:%M:%S.%f}  {entry.message}")


if __name__ == "__main__":
    main()
