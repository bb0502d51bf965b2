"""What is counted, in the text format of Prometheus."""

from prometheus_client.parser import text_string_to_metric_families

from .conftest import running


def samples(client):
    """The values by name and labels."""
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_metrics(predictor, png):
    with running(predictor) as server, server.client() as client:
        before = samples(client)
        assert before["fashioncnn_pending_images",] == 0
        assert not any(name == "fashioncnn_predictions_total" for name, *_ in before)

        answers = [client.post("/v1/predict", content=png).json() for _ in range(3)]
        client.post("/v1/predict", files=[("images", ("a", png)), ("images", ("b", b"x"))])
        client.post("/v1/predict", content=b"x")
        for path in ("/nope", "/nope/else"):
            client.get(path)

        after = samples(client)
        predicted = answers[0]["predictions"][0]["top"][0]["name"]
        abstained = answers[0]["predictions"][0]["abstained"]
        assert after["fashioncnn_predictions_total", predicted] == 4
        assert after["fashioncnn_abstentions_total",] == 4 * abstained
        assert after["fashioncnn_unreadable_images_total",] == 2
        assert after["fashioncnn_requests_total", "/v1/predict", "200"] == 4
        assert after["fashioncnn_requests_total", "/v1/predict", "422"] == 1
        assert after["fashioncnn_requests_total", "404", "other"] == 2
        assert after["fashioncnn_request_duration_seconds_count", "/v1/predict"] == 5
        assert after["fashioncnn_batch_size_count",] >= 1
        assert after["fashioncnn_decoder_restarts_total",] == 0


def test_restarts_are_counted(predictor, png):
    with running(predictor) as server, server.client() as client:
        for decoder in set(server.server._service._decoders._all):
            decoder._process.kill()
            decoder._process.join()
        assert client.post("/v1/predict", content=png).status_code == 200
        assert samples(client)["fashioncnn_decoder_restarts_total",] == 1


def test_servers_count_by_themselves(predictor):
    with running(predictor) as server, running(predictor) as other:
        with server.client() as client:
            client.get("/livez")
        with other.client() as client:
            assert ("fashioncnn_requests_total", "/livez", "200") not in samples(client)
