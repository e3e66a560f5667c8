"""The console as a person uses it: a real Chromium, a real service, the demo gallery."""
