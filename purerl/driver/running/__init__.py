"""The running of a job: devices, compiled programs, trials, the training loop, results."""
