"""Where two trainings diverge: epoch, step, stage and element."""
