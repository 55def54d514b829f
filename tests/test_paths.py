"""Where results go."""

from bundle.paths import ROOT, results_root


def test_a_clone_keeps_results_inside_and_a_packed_bundle_beside_its_folder(tmp_path):
    assert results_root() == ROOT / "runs"
    bundle = tmp_path / "bundles" / "bundle"
    bundle.mkdir(parents=True)
    (bundle / "manifest.json").touch()
    assert results_root(bundle) == tmp_path / "bundles" / "runs"
