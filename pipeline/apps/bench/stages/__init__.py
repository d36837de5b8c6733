"""Single stages of the pipeline, measured as what they are: the real program, on prepared input in real servers."""
