"""How steps are compiled and share calls; `fit` can be understood without it.

Read `horizon.py`, `plan.py`, `run.py`, `program.py`, `loops.py`, `compiled_step.py`,
`reuse.py`, `likeness.py`, `climb.py`, `graphs.py`.
"""
