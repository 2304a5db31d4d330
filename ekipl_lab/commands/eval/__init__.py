"""`ekipl eval`: ``options`` what is asked, ``command`` the run, ``tables`` what is shown."""
