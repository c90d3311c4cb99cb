"""Run notebooks from top to bottom; the first cell that fails stops the run.

python notebooks/run.py [--inplace] NOTEBOOK ...
"""

import pathlib

import nbformat
import tyro
from nbclient import NotebookClient

from purerl.files import atomic_path


def main(notebooks: tyro.conf.Positional[tuple[pathlib.Path, ...]], inplace: bool = False) -> None:
    """Run notebooks.

    Args:
        notebooks: which ones.
        inplace: keep what the cells print and draw; without it the files stay as they are.
    """
    for path in notebooks:
        print(f"running {path}", flush=True)
        notebook = nbformat.read(path, as_version=4)
        # Times would make every run a change of the file.
        NotebookClient(notebook, record_timing=False, resources={"metadata": {"path": str(path.parent)}}).execute()
        if inplace:
            with atomic_path(path) as temporary:
                nbformat.write(notebook, temporary)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
