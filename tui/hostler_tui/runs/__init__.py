"""What several screens show of runs and do with them: graph, lines, questions, actions."""
