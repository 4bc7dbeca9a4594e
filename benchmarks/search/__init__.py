"""The search against other optimisers; `run.py` makes results, `scores.py` reads them."""

import os

# Before numpy is loaded: small matrices on many threads are slower, and CPU time would count them all.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
