"""What an actor does, in this process."""

import json
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fashioncnn.cluster.inputs import Input, read_inputs, write_inputs
from fashioncnn.cluster.manifest import write_manifest
from fashioncnn.cluster.parts import read_summary
from fashioncnn.cluster.worker import MAX_ATTEMPTS, remove_attempts
from fashioncnn.errors import DataError
from fashioncnn.inference.sources import ImageSource

COLUMNS = ["index", "source", "code_1", "name_1", "probability_1", "code_2", "name_2"]
COLUMNS += ["probability_2", "confidence", "abstained", "several_garments", "error"]


def predict_all(prepared):
    worker = prepared.worker()
    return [worker.predict(shard) for shard in range(prepared.job.shards)]


def rows_of(prepared):
    return pq.read_table(prepared.folder.path).to_pylist()


def test_parts_have_the_predictions_of_the_predictor(prepared, images):
    predict_all(prepared)
    rows = rows_of(prepared)
    assert list(rows[0]) == COLUMNS
    predictor = prepared.model.open()
    expected = list(predictor.predict_sources(ImageSource(n, Path(n)) for n in images))
    assert [row["index"] for row in rows] == list(range(len(images)))
    for row, prediction in zip(rows, expected, strict=True):
        assert row["source"] == prediction.source
        assert row["error"] == prediction.error
        assert row["code_1"] == prediction.label
        assert row["name_1"] == prediction.name
        assert row["abstained"] == prediction.abstained
        if prediction.probabilities is not None:
            best, second = sorted(prediction.probabilities, reverse=True)[:2]
            assert row["probability_1"] == pytest.approx(best, abs=1e-5)
            assert row["probability_2"] == pytest.approx(second, abs=1e-5)
            assert row["confidence"] == pytest.approx(prediction.confidence, abs=1e-5)
    assert rows[3]["error"].startswith("images/3.png: not a JPEG")
    assert rows[3]["confidence"] is None


def test_the_model_is_opened_once(prepared):
    worker = prepared.worker()
    for shard in range(3):
        worker.predict(shard)
    assert prepared.openings == 1


def test_a_worker_and_its_model_are_pickled(prepared):
    worker = pickle.loads(pickle.dumps(prepared.worker()))
    assert worker.predict(0).images == 2


def test_a_repeated_shard_is_not_predicted_again(prepared):
    summaries = predict_all(prepared)
    times = [prepared.folder.part(shard).stat().st_mtime_ns for shard in range(3)]
    assert predict_all(prepared) == summaries
    assert [prepared.folder.part(shard).stat().st_mtime_ns for shard in range(3)] == times
    assert prepared.openings == 1


@pytest.mark.parametrize("damage", ["truncated", "of another job"])
def test_a_part_that_is_not_of_this_job_is_overwritten(prepared, damage):
    predict_all(prepared)
    part = prepared.folder.part(1)
    content = part.read_bytes()
    if damage == "truncated":
        part.write_bytes(content[:-9])
    else:
        table = pq.read_table(part)
        pq.write_table(table.replace_schema_metadata({b"fashioncnn": b'{"job": "x"}'}), part)
    assert read_summary(part, prepared.job.id) is None
    prepared.worker().predict(1)
    assert part.read_bytes() == content


def test_the_summary_counts(prepared):
    write_inputs(
        prepared.folder.input_list(1),
        [Input("images/3.png"), Input("x", "x: no such file", found=False)],
    )
    summary = prepared.worker().predict(1)
    assert (summary.shard, summary.images, summary.found, summary.failed) == (1, 2, 1, 2)
    stored = pq.read_metadata(prepared.folder.part(1)).metadata[b"fashioncnn"].decode()
    assert stored == (
        f'{{"job": "{prepared.job.id}", "shard": 1, "images": 2, "found": 1, "failed": 2, '
        '"abstained": 0, "resized": 0, "several": [], "more": 0}'
    )


def test_errors_are_results(prepared):
    prepared.folder.input_list(0).unlink()
    result = prepared.worker()({"shard": 0})
    assert result["summary"] == ""
    assert result["exit_code"] == 1
    assert "000000.parquet: cannot be read (No such file" in result["error"]
    assert not prepared.folder.part(0).exists()


def test_a_machine_that_does_not_see_the_folder_says_so(prepared):
    worker = prepared.worker()
    prepared.folder.path.rename("elsewhere")
    result = worker({"shard": 0})
    assert result["exit_code"] == 2
    assert f"--out {prepared.folder.path}: not visible on the machine " in result["error"]
    assert not prepared.folder.path.exists(), "nothing is written there"


def test_a_machine_that_does_not_see_the_images_says_so(prepared):
    worker = prepared.worker()
    Path("images").rename("elsewhere")
    result = worker({"shard": 0})
    assert result["exit_code"] == 2
    assert f"{Path.cwd()}/images/0.png: not visible on the machine " in result["error"]


def test_a_shard_that_ends_its_worker_is_given_up(prepared, monkeypatch):
    def crash(path):
        raise SystemExit(path)

    with monkeypatch.context() as patch:
        patch.setattr("fashioncnn.cluster.worker.read_inputs", crash)
        for _ in range(MAX_ATTEMPTS):
            with pytest.raises(SystemExit):
                prepared.worker()({"shard": 1})
    result = prepared.worker()({"shard": 1})
    assert f"{MAX_ATTEMPTS} attempts at its images did not end" in result["error"]
    remove_attempts(prepared.folder)
    assert prepared.worker()({"shard": 1})["error"] == ""
    assert list(prepared.folder.attempts.iterdir()) == []


def test_the_manifest_lists_all_parts(prepared):
    predict_all(prepared)
    summaries = []
    write_manifest(prepared.folder, prepared.job, summaries.append)
    manifest = json.loads(prepared.folder.manifest.read_text())
    assert (manifest["images"], manifest["failed"]) == (5, 1)
    assert [part["images"] for part in manifest["parts"]] == [2, 2, 1]
    assert [summary.shard for summary in summaries] == [0, 1, 2]


def without_first(table):
    return table.slice(1)


def twice(table):
    return pa.concat_tables([table.slice(0, 1), table.slice(0, 1)])


def of_other_positions(table):
    return table.set_column(0, "index", pa.array([7, 8]))


@pytest.mark.parametrize("change", [without_first, twice, of_other_positions])
def test_an_image_that_is_missing_or_twice_is_found(prepared, change):
    predict_all(prepared)
    part = prepared.folder.part(1)
    table = pq.read_table(part)
    pq.write_table(change(table).replace_schema_metadata(table.schema.metadata), part)
    with pytest.raises(DataError, match="does not have each image of its shard once; remove it"):
        write_manifest(prepared.folder, prepared.job, lambda summary: None)
    assert not prepared.folder.manifest.exists()


def test_a_missing_part_is_found(prepared):
    predict_all(prepared)
    prepared.folder.part(2).unlink()
    with pytest.raises(DataError, match=r"part-000002\.parquet: cannot be read"):
        write_manifest(prepared.folder, prepared.job, lambda summary: None)


def test_lists_of_inputs_stay_beside_the_parts(prepared, images):
    assert [given.name for given in read_inputs(prepared.folder.input_list(0))] == images[:2]
    assert pq.read_table(prepared.folder.inputs).num_rows == 5
