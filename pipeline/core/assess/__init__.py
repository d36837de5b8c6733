"""Analysis and assessment (Y.4907 8.3): quality and availability of observations, indicator values, scores.

Pure: rows of the platform's store and the city's plan in, figures out. The same rows give the same figures, in
whatever order, however often and in however many parts they come. Local dates follow the zone that the plan names.
"""
