"""Run notebooks from top to bottom, each in a kernel of its own; after the first cell that fails none is begun.

python notebooks/run.py [--inplace] [--jobs 2] NOTEBOOK ...
"""

import concurrent.futures
import os
import pathlib

import nbformat
import tyro
from nbclient import NotebookClient

from purerl.files import atomic_path


def main(notebooks: tyro.conf.Positional[tuple[pathlib.Path, ...]], inplace: bool = False, jobs: int = 1) -> None:
    """Run notebooks.

    Args:
        notebooks: which ones.
        inplace: keep what the cells print and draw; without it the files stay as they are.
        jobs: notebooks that run at the same time.
    """
    if jobs < 1:
        raise SystemExit(f"run.py: --jobs {jobs}: it takes at least 1 to run a notebook.")
    if os.environ.get("SMOKE"):
        # With small settings most of the time goes to compiling, which takes half as long without optimisation.
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        runs = [pool.submit(run, path, inplace) for path in notebooks]
        try:
            for done in concurrent.futures.as_completed(runs):
                done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def run(path: pathlib.Path, inplace: bool) -> None:
    """Run one notebook.

    Raises:
        nbclient.exceptions.CellExecutionError: with the cell and what it printed.
    """
    print(f"running {path}", flush=True)
    notebook = nbformat.read(path, as_version=4)
    # Times would make every run a change of the file.
    NotebookClient(notebook, record_timing=False, resources={"metadata": {"path": str(path.parent)}}).execute()
    if inplace:
        with atomic_path(path) as temporary:
            nbformat.write(notebook, temporary)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
