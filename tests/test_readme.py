"""The README's quickstart runs as it stands there, only shorter."""

import pathlib
import re

README = pathlib.Path(__file__).parent.parent / "README.md"


def test_quickstart_runs(tmp_path, monkeypatch):
    """Every name that the quickstart uses exists, and it draws the curve it promises."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert "num_env_steps=200_000, num_seeds=4" in code
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code.replace("num_env_steps=200_000, num_seeds=4", "num_env_steps=2_048, num_seeds=2"), names)
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert names["action"] in (0, 1)
    assert len(code.strip().splitlines()) <= 16
