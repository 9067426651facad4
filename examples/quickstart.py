"""The first program: enqueue, consume, and see what became of the jobs."""

import jobq

with jobq.open() as svc:
    svc.enqueue("mail", b"ada@example.org")
    svc.enqueue("mail", b"grace@example.org", -10)  # a lower weight is more urgent
    svc.enqueue("mail", b"alan@example.org", delay=0.2)  # not before two tenths of a second have passed

    for job in svc.consume("mail", idle=1):  # until none came for a second
        with job:  # done at the end; retried later after an exception
            print("sending to", job.payload.decode())

    stats = svc.topic_stats("mail")
    print(f"{stats.completions} of {stats.enqueued} sent, {stats.live} left")
