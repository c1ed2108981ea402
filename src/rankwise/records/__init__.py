"""The JSON artifacts, typed: what a stage decided or measured, and from what.

Every record names its schema and holds its own digest; a reader refuses another schema, and a record that
was changed after it was written. Records hold no times and no machine's names, except `SpeedRecord`,
which is nothing else.
"""
