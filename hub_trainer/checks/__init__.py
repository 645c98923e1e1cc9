"""Checks of a dataset pull request, and the verdict that follows; nothing is written.

`files`, `card` and `placement` look at names and metadata. `context` fetches what has to be opened,
and `inspection` has it opened by `worker`, in a child without token and network.
"""
