"""Teachers' features of augmented views, computed once and kept on disk (docs/concepts/store.md).

unfinished, digest, shard, table   content addresses -> entries in immutable files
views, precision       how a frame's views are made, and how features are kept
store                  the tables of a store, and which views it has
passes, quantizer, fill   making what is missing
dataset, statistics    what training reads
"""
