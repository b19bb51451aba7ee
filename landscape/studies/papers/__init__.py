"""Questions of papers, a file each, which is also its name: ``landscape reproduce gam-geometry``."""
