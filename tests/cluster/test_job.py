import json

import pytest

from fashioncnn.cluster.job import JobSettings, describe_difference, utf8
from fashioncnn.errors import DataError, UsageError


def settings_of(job, **values):
    fields = {name: getattr(job, name) for name in JobSettings.model_fields}
    return JobSettings(**{**fields, **values})


def test_shards(prepared):
    job = prepared.job
    assert job.shards == 3
    assert [job.images_of(shard) for shard in range(3)] == [2, 2, 1]
    assert prepared.folder.part(1234567).name == "part-1234567.parquet"


def test_a_job_is_read_as_it_was_written(prepared):
    assert prepared.folder.read_job() == prepared.job


def test_a_folder_whose_name_is_not_utf8_is_read_as_it_was_written(prepared):
    job = prepared.job.model_copy(update={"folder": "/caf\udce9", "probe": "caf\udce9.png"})
    prepared.folder.write_job(job)
    assert prepared.folder.read_job() == job


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({}, None),
        ({"model": "another name of it"}, None),
        ({"model_sha256": "0"}, "another model"),
        ({"top": 3}, "top 2, not 3"),
        ({"shard_size": 7}, "shard size 2, not 7"),
        ({"version": "2"}, "version 1, not 2"),
    ],
)
def test_differences_are_named(prepared, changes, difference):
    assert describe_difference(prepared.job, settings_of(prepared.job, **changes)) == difference


def test_other_images_are_another_job(prepared):
    other = prepared.job.model_copy(update={"inputs_sha256": "0"})
    assert describe_difference(prepared.job, other) == "other images"
    assert other.id != prepared.job.id


def test_a_changed_character_is_found(prepared):
    path = prepared.folder.job
    path.write_text(path.read_text().replace('"top": 2', '"top": 3'))
    with pytest.raises(DataError, match="checksum"):
        prepared.folder.read_job()


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"checksum": null}', '{"schema": 9, "checksum": null}']
)
def test_other_documents_are_rejected(prepared, content):
    prepared.folder.job.write_text(content)
    with pytest.raises(DataError) as error:
        prepared.folder.read_job()
    assert str(error.value).startswith(str(prepared.folder.job))
    assert "\n" not in str(error.value)


def test_a_missing_job_is_reported(prepared):
    prepared.folder.job.unlink()
    with pytest.raises(UsageError, match="No such file"):
        prepared.folder.read_job()


def test_values_are_checked(prepared):
    values = json.loads(prepared.folder.job.read_text())
    values.update(shard_size=0, checksum=None)
    prepared.folder.job.write_text(json.dumps(values))
    with pytest.raises(DataError, match=r"invalid \(shard_size: "):
        prepared.folder.read_job()


def test_bytes_that_are_not_utf8_are_escaped():
    assert utf8("caf\udce9.png") == "caf\\udce9.png"
    assert utf8("café.png") == "café.png"
