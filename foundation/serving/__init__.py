"""What both daemons need to be one: the server, `web.yml`, the log format. Knows no pages and no metrics."""
