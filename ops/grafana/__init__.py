"""Grafana dashboards: one typed source, the JSON files made from it, and the files that provision Grafana.

``python -m ops.grafana`` writes ``dashboards/*.json``. No program of ours needs any of it.
"""
