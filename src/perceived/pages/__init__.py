"""What people look at: charts (Matplotlib) and pages of one file (Jinja), written from results that others reckoned.

``charts`` and ``report`` are under all of them; ``audit`` draws for :mod:`perceived.audit`, and so on.
"""
