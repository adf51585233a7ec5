"""The HTTP server: an API and a page over one predictor (extra ``perceived[serve]``).

In the order a request meets them: ``connections`` (the socket), ``gate`` (keys, headers, logs),
``app`` (routes), ``intake`` and ``uploads`` (from body to pictures), ``engine`` (from pictures to
answers), ``schema`` (from answers to JSON). ``run`` starts and stops it all; ``settings`` says how.
"""
