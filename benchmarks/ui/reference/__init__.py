"""The same five linked plots made in two other ways, to compare the dashboard with: as fast as can be, and plainly.

Both are smaller pages than the dashboard: no sidebar, no filter, no explanations, no supplement.
"""
