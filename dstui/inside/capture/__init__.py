"""What sees settings, metrics and files of an unchanged script: it runs in the project's own Python, from a copy.

The launcher copies this folder and the modules of the client into the store, where the processes of a run load them as
the package `_dstui`: dstui itself need not be installed there. Standard library only, Python 3.9.

**Failure rule.** A recorder is never the reason for another exit code or byte of output. The original is called once,
outside any `try` of ours, with its own arguments; recording comes after it. A patch that fails takes itself out and
says so in `hello.jsonl`. Nothing here prints, starts a thread or handles a signal.

| file | what it is for |
|---|---|
| `start/sitecustomize.py` | the only file on `PYTHONPATH`; parses on any Python |
| `fallback/dstui.py` | `import dstui` where it is not installed |
| `session.py` | what this process is in the run; its lines in `hello.jsonl` |
| `begin.py` | says hello, watches imports |
| `wrap.py` | calls the original, then records |
| `recorder.py` | writes what was seen |
| `parsers.py`, `loggers.py`, `wandb.py`, `seen.py` | what is watched |
"""
