"""One worker: a loop, its connections, and the threads that run the application.

``loop`` waits and accepts, ``connection`` follows one client and ``outbox`` sends to it, ``gateway`` speaks PEP 3333,
``handoff`` decides which thread leads, ``pool`` has the slots, ``spool`` keeps bodies, ``bell`` wakes the loop,
``backlog`` is what a drain is told.
"""
