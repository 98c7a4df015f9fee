"""The same small training under other engines, side by side on one machine.

    make bench-peers                     # sets up .venv-peers first; afterwards also
    .venv/bin/python -m bench.peers --help

Every engine runs in a process of its own, in the environment that has its framework. They are
timed in turn, so what disturbs the machine during a round disturbs all engines.
"""
