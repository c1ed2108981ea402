"""Model families: one YAML file each, found by listing this folder, keyed by architecture.

The stage prepare looks the family up, once; later stages read it from the model's manifest.
"""
