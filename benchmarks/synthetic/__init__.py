"""A drawn world of classes, images and models, for warehouses of any size: see `benchmarks.synthesize`.

Nothing is trained and nothing is run. Classes lie in a plane, each root class in a region of its own, siblings close
together; every model sees that plane with some noise. From it follows all that a warehouse holds about a model: what
it takes for what, how far apart it holds classes, where its layouts have them. Some models can be given a network to be
explained (`benchmarks.synthetic.network`), which none of this comes from.
"""
