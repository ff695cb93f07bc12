"""HTTP/1.1 as functions over bytes (RFC 9110, RFC 9112): no socket, no clock, nothing but ``re``.

``head`` reads a request's head, ``body`` its body, ``response`` writes what goes back; ``grammar`` has the rules
that they share, named as in the RFCs.
"""
