"""The command ``landscape``, one file a subcommand; installed as ``landscape_cli``."""
