"""Measuring what a fit costs: every column of every table is computed here, by one formula.

| module | what it computes |
|---|---|
| `clock` | interleaved rounds, microseconds a step, paired ratios, bootstrap intervals |
| `engines` | what is timed: `model.fit` in several settings, `loop.fit` by plan, the bare step |
| `training` | a new model under an engine: seconds of a fit, the first fits, traces, steps |
| `costs` | the record of a scenario: all figures, engine by engine |
| `measure` | that record: warm fits, or first fits only, of every engine in turn |
| `apart` | seconds an epoch and a step, each without the other |
| `closeness` | the class of exactness of the very fits that were timed |
| `memory` | the peak memory of a process |
| `split` | the share of data, compute, reads, callbacks and dispatch in the time of a fit |
| `kernels` | the time of a step in kernels, and in which |
| `device` | CPU or GPU: chosen, named, TF32 stated |
| `resize`, `growth` | the same training in another size, and how a step's time grows with it |
| `throughput` | two engines on one scenario: the figures of `glassfit throughput` |
| `tables` | the tables for the terminal, whole at 80 columns |

docs/costs.md says which question needs which command. Only public names of `loop` are used.
"""
