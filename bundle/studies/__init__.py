"""Evidence studies: variants trained with several seeds and compared on the same held-out synthetic patients.

definition  studies, variants and scales, as JSON
plan        from variants to commands, each known by what it depends on
runner      runs what is missing, and records it
record      one finished run
statistics  means, paired differences with their uncertainty, verdicts
tables      a study as a Markdown section
figures     a study as an SVG figure
report      pages of all studies, and how the paper's claims fared
"""
