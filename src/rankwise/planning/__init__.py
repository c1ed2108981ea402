"""What a study will take, from the model's configuration alone, before anything runs.

`sizes` says how large the model is, `machine` how fast and large this machine is, `needs` what each
stage holds and multiplies, `plan` puts them together, `command` is ``rankwise plan``.
"""
