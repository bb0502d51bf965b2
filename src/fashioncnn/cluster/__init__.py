"""Prediction of many images on a Ray cluster, to Parquet. Needs the extra ``[ray]``.

The images of a job are listed once, in numbered shards. A worker writes the predictions for a shard
to a file of its own, so that a shard can be repeated on any machine, at any time.
"""
