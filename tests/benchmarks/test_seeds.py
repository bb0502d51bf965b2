"""The scripts that train seeds."""

import json


def test_the_candidates_of_the_baseline_are_judged_on_test_alone(monkeypatch, tmp_path):
    import fit_baseline

    asked = []
    monkeypatch.setattr(fit_baseline, "run_seed", lambda *a, **options: asked.append(options))
    monkeypatch.setattr("sys.argv", ["fit_baseline.py", "--only", "k3-p1-h256"])
    fit_baseline.main()
    assert asked == [{"threads": 1, "test": True, "flip": False}]


def test_a_result_names_no_path_of_this_machine(tiny_settings, small, tmp_path, monkeypatch):
    import seeds

    monkeypatch.chdir(tmp_path)
    settings = tiny_settings()
    training = settings.training.model_copy(
        update={"taught_by": (f"{tmp_path}/runs/seeds/a/seed0", "accurate")}
    )
    settings = settings.model_copy(update={"training": training})
    told = seeds.provenance(settings, small)["settings"]
    assert told["training"]["taught_by"] == ["runs/seeds/a/seed0", "accurate"]
    result = tmp_path / "seed0.json"
    result.write_text(json.dumps({"settings": told}))
    seeds.refuse_others(result, settings)
