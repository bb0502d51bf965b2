"""Write the IDX format; the package itself only reads it."""

import gzip
import struct


def write_idx(path, values):
    """Write a uint8 array, gzipped where `path` ends in ``.gz``."""
    content = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    content += values.tobytes()
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
