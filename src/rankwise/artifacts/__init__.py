"""The tensor artifacts, typed; only this package knows how they are stored."""
