"""What a store holds, whatever shard it is in: to compare two stores."""

import hashlib
from pathlib import Path

from bundle.store.shard import SUFFIX, Shard
from bundle.store.unfinished import UNFINISHED

QUANTIZER = f"quantizer{SUFFIX}"


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every entry of every table, by table and address; damaged entries are errors."""
    entries = {}
    for path in sorted(folder.rglob(f"[!.]*{SUFFIX}")):
        table = path.parent.relative_to(folder).as_posix()
        if path.name == QUANTIZER:
            entries[f"{table}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
            continue
        shard = Shard(path)
        for row, key in enumerate(shard.keys):
            values = [tensor.numpy().tobytes() for tensor in shard.read(row).values()]
            entries[f"{table}/{key.hex()}"] = hashlib.sha256(b"".join(values)).hexdigest()
    return entries


def unfinished(folder: Path) -> list[Path]:
    """What a killed writer left half written."""
    return sorted(folder.rglob(f"{UNFINISHED}*"))
