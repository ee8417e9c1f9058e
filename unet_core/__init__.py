"""The engine of Limn: stacks, annotations, networks, training, prediction and export.

A library that knows no window: everything here can be used from a notebook or a script, and the
window (`app`) and the command line (`app.cli`) are two thin users of it.
"""
