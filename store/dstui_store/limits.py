"""What every reader admits of what others wrote; our writers keep to the same numbers, so what we write can be read.

Over a limit a run still lists its summary, with the value and the limit.
"""

from __future__ import annotations

MAX_CODE_FILES = 50_000
"""Files in the code tree of a run."""

MAX_CODE_DEPTH = 50
"""Folders a code file may be deep."""

MAX_CODE_BYTES = 1 << 30
"""Size of all code files of a run together."""

MAX_PATH_BYTES = 1_024
"""Length of one path in a tree."""

MAX_MESSAGE_BYTES = 16 * 1024
"""Length of one commit message."""

MAX_SYNC_COMMITS = 100_000
"""Commits taken in by one sync, streamed."""

MAX_SYNC_BYTES = 256 << 20
"""Messages of one log taken in by one sync together."""

MAX_WRITERS = 1_000
"""Writers of one store."""

MAX_FETCH_BYTES = 4 << 30
"""Size of one file that a fetch may write."""

MAX_ADVERTISED_BYTES = 1 << 20
"""Size of all names that a remote answers with, asked for its logs."""

MAX_JSON_BYTES = 1 << 20
"""Size of one JSON file."""

MAX_JSON_DEPTH = 32
"""Depth of one JSON value."""

MAX_JSON_KEYS = 10_000
"""Keys of one JSON object."""

MAX_LOG_BYTES = 16 << 20
"""Size of a run's log, decompressed."""

MAX_LOG_LINE_BYTES = 64 * 1024
"""Length of one line of a log."""

MAX_METRIC_KEYS = 16_384
"""Names of metrics in one journal, and in one run."""

MAX_METRIC_KEYS_BYTES = 1 << 20
"""Size of those names as JSON: of a `.keys` file, and of `ds.keys` in a Parquet footer."""

MAX_PARQUET_BYTES = 64 << 20
"""Size of all Parquet files of a run's metrics together."""

MAX_PARQUET_FOOTER_BYTES = 2 << 20
"""Size of one Parquet footer, asked before it is decoded."""

MAX_PARQUET_COLUMNS = 4_096
"""Columns of all Parquet files of a run's metrics together."""

MAX_PARQUET_CELLS = 20_000_000
"""Rows times columns, summed over the Parquet files of a run's metrics: cells, not bytes, are what fills memory."""

MAX_THRIFT_STRING_BYTES = 1 << 20
"""Longest text in a Parquet footer."""

MAX_THRIFT_ITEMS = 65_536
"""Longest list in a Parquet footer."""

MAX_COMMIT_PARQUET_BYTES = 32 << 20
"""Above it, or above `MAX_PARQUET_CELLS`, a commit holds envelopes and the points lie beside it in full."""

MAX_WIDE_FILES = 8
"""Parquet files with a column per metric; all other sets of metrics share `metrics/long.parquet`."""

MAX_WIDE_KEYS = 1_024
"""Metrics of one of those files."""

MAX_ENVELOPE_BUCKETS = 10_000
"""Buckets an envelope gives one metric at most."""

ENVELOPE_BUCKETS_SHARED = 1_000_000
"""Buckets of an envelope over all metrics."""

MAX_MEDIA_VALUE_BYTES = 64 * 1024
"""Size of one image, text, histogram or table that stands in `media.bin`; larger ones are in `cas/`."""

MAX_MEDIA_BYTES = 2 << 20
"""Size of `media.bin`."""

MAX_MEDIA_ITEM_BYTES = 16 << 20
"""Size of one of them, wherever it is."""

MAX_MEDIA_ITEMS = 4_000
"""Number of them in one run."""

MAX_ARTIFACT_FILES = 5_000
"""Files that the script of one run kept."""
