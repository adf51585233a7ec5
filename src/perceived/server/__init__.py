"""The HTTP server: an API and a page over one predictor (extra ``perceived[serve]``).

In the order a request meets them: ``connections`` (the socket), ``gate`` (keys, headers, logs),
``app`` (routes), ``intake`` and ``uploads`` (from body to pictures), ``answers`` (from pictures to
answers) by way of ``engine`` (which gathers them in batches), ``schema`` (from answers to JSON).
``service`` holds what all requests share; ``run`` starts and stops it all; ``settings`` says how.
"""
