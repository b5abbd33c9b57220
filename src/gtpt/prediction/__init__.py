"""`gtpt predict`: sources one after another, results written to files as they come.

The folder is not called `predict`: that is the function `gtpt.predict`, which a module of this name would replace.
"""
