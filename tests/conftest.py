"""A suite that was started in the background has Ctrl-C ignored, and its child processes too; the
tests of interrupts need it back."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
