"""The same linked plots made in two other ways, to compare the dashboard with: as fast as can be, and plainly.

A tap changes in them what it changes in the dashboard's plots. Both are smaller pages: no sidebar, no filter, no
explanations, no images of the chosen class.
"""
