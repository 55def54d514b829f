"""From a shipped segmenter and a few labeled frames of a site to one that knows the site's films."""
