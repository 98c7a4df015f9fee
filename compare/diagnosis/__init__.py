"""Why two trainings diverge: which rule of fit the candidate breaks."""
