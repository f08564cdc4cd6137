"""The viewer: a page in the browser, and the server on this machine that answers it."""
