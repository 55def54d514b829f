"""Teachers' features of augmented views, computed once and kept on disk (docs/concepts/store.md)."""
