"""One module for each third-party package; nothing else imports them."""
