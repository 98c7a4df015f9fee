"""How steps are compiled and share calls; `fit` can be understood without it.

Read `horizon.py`, `plan.py`, `run.py`, `program.py`, `loops.py`, `model_step.py`,
`compiled_step.py`, `kinds.py`, `own_logs.py`, `given.py`, `reuse.py`, `likeness.py`, `climb.py`,
`graphs.py`.
"""
