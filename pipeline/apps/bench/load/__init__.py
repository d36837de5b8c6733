"""The whole pipeline under load, at rest and while it grows: every part is the real program, in real servers."""
