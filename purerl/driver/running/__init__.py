"""The running of a job: devices, compiled programs, members, the training loop, results."""
