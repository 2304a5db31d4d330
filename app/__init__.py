"""The Gradio page: policy and teacher reasoning side by side. Start it with ``ekipl app``.

``data`` finds runs, checkpoints, items and groups; ``live`` samples a checkpoint and asks the
teachers; ``why`` says in words what the selection rule did; ``view`` turns a group into HTML;
none of these knows Gradio. ``main`` is the page, ``server`` puts it on 127.0.0.1.
"""
