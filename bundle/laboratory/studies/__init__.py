"""Evidence studies: variants trained with several seeds and compared on the same held-out synthetic patients.

definition  studies, variants and scales, as JSON
plan        from variants to commands, each known by what it depends on
warm        commands in processes that are forked with the libraries loaded
runner      runs what is missing, and records it
traces      what a distillation logged: weights, losses
knowledge   what a student's features know of each teacher
costs       parameters, operations and speed of a student
record      one finished run
statistics  means, paired differences with their uncertainty, verdicts
tables      what studies print: rows, differences, power, claims
figures     weights of the teachers over a training
report      the page of these studies, and how the claims fared
index       the first page of the evidence, from the other pages
inside      feature maps, feature space and CKA of teachers and student; failures of the model that ships. Its parts:
            held_out, networks, feature_maps, embedding_map, layer_similarity, failures, failure_causes,
            failure_pictures, failure_report
slices      slice-wise students on real CT sub-volumes, scored on unseen patients; volume_masks, slices_zero,
            slices_page
"""
