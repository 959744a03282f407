"""Exit codes of a worker process, for whatever started it."""

from __future__ import annotations

DONE = 0  # also if the job had been done before
FAILED = 1  # the traceback is in the work folder
USER_MISTAKE = 2  # the reason is one sentence
ELSEWHERE = 3  # another process works on this job
STOPPED = 4  # left on request; the same job, started again, continues from what is on disk
