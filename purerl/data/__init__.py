"""What an agent remembers of its experience: replay, how it is drawn from, and what is read there."""
