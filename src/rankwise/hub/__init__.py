"""The files that travel with a checkpoint: they import torch and transformers, and nothing of rankwise.

`rankwise` registers them with transformers; where it is not installed, a checkpoint's own copy of them
is loaded with ``trust_remote_code=True``. They import each other relatively, as transformers copies them.
"""
