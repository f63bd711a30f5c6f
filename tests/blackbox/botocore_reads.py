"""What botocore reads of its models, seen from inside a process."""

# Source for such a process: from here on `reads` has the path of each model that is read.
WATCH = """
import botocore.loaders
reads, load_file = [], botocore.loaders.JSONFileLoader.load_file

def watched(self, path):
    data = load_file(self, path)
    reads.extend([] if data is None else [path])
    return data

botocore.loaders.JSONFileLoader.load_file = watched
"""
