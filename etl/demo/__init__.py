"""The embedded demo: synthetic pictograms and thirteen small trained CNNs, with no network and no data files."""
