"""Evidence studies: variants trained with several seeds and compared on the same held-out patients.

definition     studies, variants and scales, as JSON
plan           from variants to commands, each known by what it depends on
stage_runner   commands in warm processes, as jobs that need each other
runner, real   run what is missing of the synthetic studies, and of the study on real films, and record it
record         one finished run
readouts       what a student knows of its teachers, how they were weighed, what it costs
statistics     means, paired differences with their uncertainty, verdicts
tables, figures   what studies print and draw
report, real_page, index   the pages of the synthetic studies and of the real one, and the first page of the evidence
real_films, real_readouts, probe, real_report   of the study on real films
inside, inside_films       feature maps, feature space and CKA of teachers and student; failures of the shipped model.
               Their parts: networks, feature_space, layer_similarity, failures, failure_report
slices         slice-wise students on real CT sub-volumes; volume_masks, slices_zero, slices_page
"""
