"""What runs left in their folders, and whether two left the same."""

import json
import pathlib
import struct
from typing import Any


def last_step(folder: pathlib.Path) -> int:
    """The last environment step in the log of a run without a sweep; 0 without a log."""
    path = folder / "metrics.csv"
    lines = path.read_bytes().splitlines(keepends=True)[1:] if path.exists() else []
    whole = [line for line in lines if line.endswith(b"\n")]
    return int(whole[-1].split(b",")[1]) if whole else 0


def tensorboard_steps(folder: pathlib.Path) -> set[int]:
    """Steps of the events of a run's first seed; a file's last record may have been cut off."""
    from tensorboardX.proto.event_pb2 import Event

    steps = set()
    for path in (folder / "tensorboard" / "seed_0").iterdir():
        data = path.read_bytes()
        while len(data) >= 16 and len(data) >= (size := 16 + struct.unpack("<Q", data[:8])[0]):
            event = Event.FromString(data[12 : size - 4])
            steps |= {event.step} if event.HasField("summary") else set()
            data = data[size:]
    return steps


def assert_same_files(folder: pathlib.Path, expected: pathlib.Path) -> None:
    """Two finished runs left the same log, the same results and the same last state, by its checksums."""
    assert (folder / "metrics.csv").read_bytes() == (expected / "metrics.csv").read_bytes()
    summary, other = (json.loads((path / "summary.json").read_text()) for path in (folder, expected))
    for name in ("num_env_steps", "final_return", "final_return_of_each_seed", "num_diverged", "divergences"):
        assert summary[name] == other[name], name
    assert last_checkpoint(folder)["leaves"] == last_checkpoint(expected)["leaves"]


def last_checkpoint(folder: pathlib.Path) -> dict[str, Any]:
    """The description of a run's last checkpoint."""
    return json.loads((checkpoints(folder)[-1] / "meta" / "metadata").read_text())


def checkpoints(folder: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoints of a run, in order."""
    return sorted(
        (path for path in (folder / "checkpoints").iterdir() if path.name.isdigit()), key=lambda p: int(p.name)
    )
