"""The Python API, whose names `fashioncnn` exports."""
