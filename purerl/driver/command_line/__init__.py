"""The command line of an experiment: its flags, its presets, its report; all that a launcher needs."""

from purerl.driver.command_line.console import one_line_errors
from purerl.driver.command_line.experiment import Experiment, Preset, decay_over_run
from purerl.driver.command_line.flags import parse_record
from purerl.driver.command_line.launch import main

__all__ = ["Experiment", "Preset", "decay_over_run", "main", "one_line_errors", "parse_record"]
