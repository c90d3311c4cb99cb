"""The command that makes docs/equations.md."""

import pathlib

import pytest

from tests import equations
from tests.equations import Equation, collect, parse, read, render, users_by_name

GAE = """Generalised advantage estimation (GAE): the mixture of all n-step advantages.

    ``A_t = delta_t + c_t
    A_{t+1}``. ``A + value`` is the target.

    ``x`` is explained here, and is no equation.

    Args:
        c: ``c >= 0``.

    Source: Schulman et al. 2016,
    (16).
    """


def test_equation_is_the_sentence_that_begins_a_paragraph_with_code():
    """Of a paragraph its first sentence, joined over lines; neither explanations nor arguments are equations."""
    statement, found, source = parse(GAE)
    assert statement == "Generalised advantage estimation (GAE): the mixture of all n-step advantages"
    assert found == ("`A_t = delta_t + c_t A_{t+1}`",)
    assert source == "Schulman et al. 2016, (16)"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Greedy value: ``max_a q_a``.", ("Greedy value", ("`max_a q_a`",))),
        ("Double value: ``q_b`` with ``b = argmax_a s_a``.", ("Double value", ("`q_b` with `b = argmax_a s_a`",))),
        ("Bellman operator: ``z_j -> r + d z_j``.", ("Bellman operator", ("`z_j -> r + d z_j`",))),
        ("Importance weights ``w = 1 / p``: scaled. Exact.", ("Importance weights", ("`w = 1 / p`: scaled",))),
        ("Mean of 1.5 values ``x``: see :func:`mean`.", ("Mean of 1.5 values `x`: see `mean`", ())),
        ("Made by one factory: ``ppo(env, config) -> Algorithm``.", None),
        ("Network: ``[..., A * N] -> [..., A]``.", None),
    ],
)
def test_equation_at_the_end_of_the_first_line(line, expected):
    """Code after a colon, if it computes something: signatures and shapes do not."""
    statement, found, _ = parse(line)
    assert found == () if expected is None else (statement, found) == expected


def test_functions_and_documented_constants_are_read_in_order(tmp_path):
    """Public names with an equation, private ones and those without left out."""
    path = tmp_path / "a.py"
    path.write_text(
        'def f():\n    """F: ``x + 1``."""\n\ndef _g():\n    """G: ``x + 2``."""\n\ndef h():\n    """H."""\n\n'
        'k = f\n"""K of x.\n\n``x + 3``\n\nSource: S.\n"""\n'
    )
    assert read(path, "purerl.a") == [
        Equation("purerl.a", "f", "F", ("`x + 1`",), ""),
        Equation("purerl.a", "k", "K of x", ("`x + 3`",), "S"),
    ]


def test_tests_of_a_function_are_found_the_nearest_first():
    """Generalised advantage estimation has tests in its module's file and among the theorems, in this order."""
    users = users_by_name()["purerl.kernels.returns", "gae"]
    files = [file for file, _ in equations._nearest(users, "purerl.kernels.returns")]
    assert files[0] == "tests/kernels/test_returns.py"
    assert any(file.startswith("tests/theory/") for file in files)
    assert files == sorted(files, key=lambda file: (file != files[0], not file.startswith("tests/theory/"), file))


def test_page_has_a_row_for_each_function_and_names_its_first_tests():
    """Bars are escaped, links lead from docs/ to the files, and the theorems have a table of their own."""
    equation = Equation("purerl.kernels.returns", "gae", "GAE", ("`a|b`",), "")
    users = {("purerl.kernels.returns", "gae"): [("tests/t.py", f"test_{i}") for i in range(5)]}
    page = render([equation], users, [("tests/theory/t.py", "test_it", "says")])
    first = "<br>".join(f"[`test_{i}`](../tests/t.py)" for i in range(3))
    assert f"| GAE | `a\\|b` | [`gae`](../purerl/kernels/returns.py) | - | {first}<br>and more |" in page
    assert "| says | [`test_it`](../tests/theory/t.py) |" in page


def test_every_kernel_module_has_equations_and_every_link_a_file():
    """The library's own page: no kernel module is missing, and what is linked exists."""
    found = collect()
    modules = {equation.module for equation in found}
    kernels = sorted((equations.ROOT / "purerl" / "kernels").glob("[!_]*.py"))
    assert {f"purerl.kernels.{path.stem}" for path in kernels} <= modules
    for module in modules:
        assert (equations.ROOT / equations._file(module)).is_file(), module


def test_check_compares_and_the_command_writes(tmp_path, monkeypatch, capsys):
    """--check writes nothing and fails on a page that differs; the command without it makes that page."""
    page: pathlib.Path = tmp_path / "docs" / "equations.md"
    monkeypatch.setattr(equations, "ROOT", tmp_path)
    monkeypatch.setattr(equations, "PAGE", page)
    assert equations.main(["--check"]) == 1
    assert not page.exists()
    assert "python -m tests.equations" in capsys.readouterr().err
    assert equations.main([]) == 0
    assert page.read_text().startswith("# Equations")
    assert equations.main(["--check"]) == 0
