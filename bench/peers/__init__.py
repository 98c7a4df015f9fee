"""The same small training through other people's engines, side by side on one machine.

    make bench-peers                     # sets up .venv-peers first; afterwards also
    .venv/bin/python -m bench.peers --help

Every engine runs in a process of its own, in the environment that has its framework. They take
turns: what disturbs one round of the machine disturbs all.
"""
