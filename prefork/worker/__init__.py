"""One worker: a loop, its connections, and the threads that run the application.

``loop`` waits, with ``poller``, and ``acceptor`` accepts; ``duty`` says whose turn that is.  ``connection`` follows one
client, ``intake`` or ``stream`` take its bodies in, ``outbox`` sends to it, each at the client's ``pace``.  ``gateway``
calls the application, and ``exchange`` answers with what it gives.  ``handoff`` decides which thread leads, and
``lease`` which of two threads has a connection.  ``pool`` has the slots, ``spool`` keeps bodies, ``bell`` wakes the
loop, ``wear`` finds that the worker should be replaced, ``probe`` asks the application once, and ``backlog`` is what a
drain is told.
"""
