"""The folder that MONAI Label is started on: it looks for ``main.py`` and takes the app's class from it."""
