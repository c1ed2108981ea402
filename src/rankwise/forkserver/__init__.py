"""A fork server for the jobs of one ``rankwise run``: the libraries are imported once, not once a job.

``launch`` starts the server beside an engine, ``client`` hands a command of that engine to it,
``server`` forks a child for it, ``job`` makes the child what a fresh process would be. Only installed
libraries are loaded ahead: the child imports this package anew, so an edited module counts at once.
"""
