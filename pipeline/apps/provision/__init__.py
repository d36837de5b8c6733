"""Making ready to run on machines and servers of one's own: files for each program, rights on the servers."""
