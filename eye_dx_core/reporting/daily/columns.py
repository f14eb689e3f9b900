"""The columns of a day's table, for whoever writes, reads or shows it."""

COLUMNS: dict[str, tuple[str, str]] = {
    "day": ("string", "Local day on which the screening was received."),
    "visit": ("int", "Number of the visit within the day and this table; the two eyes of a visit share it. It is no id of ours."),
    "hour": ("int", "Local hour of receipt, 0 to 23."),
    "site": ("string", "Producer of the message."),
    "eye": ("string", "OD or OS; empty where nothing says which eye it is."),
    "photos": ("int", "Photographs of this eye."),
    "ungradable_photos": ("int", "Those of them that could not be read."),
    "camera": ("string", "Make and model by the file's tags; empty where they tell none, several, or one that few photographs have."),
    "outcome": ("string", "assessed, uncertain or not_assessed."),
    "conclusion": ("string", "The AI's label code; empty unless the outcome is assessed."),
    "confidence": ("double", "Of the AI's conclusion, 0 to 1."),
    "reason": ("string", "Why there is no conclusion."),
    "model_version": ("string", "Version of the model that read the eye."),
    "urgency": ("string", "How soon the AI proposes that the patient is seen."),
    "doctor": ("string", "The doctor's label code for this eye, `other` or `ungradable`; empty where the review names no eyes."),
    "agrees": ("bool", "Whether the doctor confirmed the AI's conclusion; empty where nothing was compared."),
    "minutes_to_ai": ("double", "From receipt to the AI's result."),
    "minutes_to_review": ("double", "From receipt to the doctor's review."),
    "minutes_to_report": ("double", "From receipt to the written report."),
}
"""Name → type in Arrow's words, and what it means."""
