"""The Gradio page: policy and teacher reasoning side by side. Start it with ``ekipl app``.

``views`` are the pages, one file each; ``items`` and ``runs`` find what they show, ``live`` makes a
group now, ``why`` and ``chains`` say what happened in words, ``group`` puts it together, ``html``
draws it. ``evaluations``, ``measured`` and ``filters`` read what was measured; ``columns`` and
``aligned`` lay sources side by side; ``own`` keeps a reader's picture. None of these knows Gradio:
that is ``ui`` (controls by name), ``main`` (the page), ``api`` (endpoints) and ``server``
(127.0.0.1).
"""
