"""The keeper: parent of one command, or watcher of one process; it outlives whoever started it.

Run by path, standard library only:

    python -I -S keeper.py LIVE_DIR --command-fd N [--streams ttt] [--terminal] [--terminal-fd N] [--cwd DIR]
                           [--front-fd N] [--alive-fd N] [--clerk JSON]
    python -I -S keeper.py LIVE_DIR --watch PID [--alive-fd N] [--clerk JSON]

- `--command-fd`: a file with the words of the command, each ended by a zero byte. They are no arguments, because then
  `pkill -f train.py` would kill the keeper too, and nobody could say how the run ended.
- `--streams`: letters of stdin, stdout and stderr, see `child.py`. `--terminal`: the command gets a terminal, whose
  settings are those of `--terminal-fd`.
- `--front-fd`: socket of a front that is attached from the start. `--alive-fd`: the locked file `alive`.
- `--clerk`: what this process becomes at the end when nobody attached commits the run.

With `--watch` it goes into the background by itself: the process started returns once the run is kept.

A script is compiled anew at each start, so this one is short; `keeping.py` goes on.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False

if not __package__:
    # Behind the standard library, which the names of our modules must never hide.
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))

if TYPE_CHECKING or __package__:
    from dstui.inside.keeping import main
else:
    from keeping import main

if __name__ == "__main__":
    main(sys.argv[1:])
