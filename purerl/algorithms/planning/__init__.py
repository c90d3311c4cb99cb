"""Planning with a learnt model: the search sees nothing of the world but what the agent has made of it."""
