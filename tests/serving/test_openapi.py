"""Requests generated from the OpenAPI document get answers that it describes."""

import pytest

schemathesis = pytest.importorskip("schemathesis")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.specs.openapi.checks import positive_data_acceptance  # noqa: E402

from .conftest import TIMEOUT, running  # noqa: E402

OPERATIONS = {
    "/livez": "GET",
    "/readyz": "GET",
    "/metrics": "GET",
    "/v1/model": "GET",
    "/v1/predict": "POST",
}


@pytest.fixture(scope="module")
def api(server):
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        *((path, GenerationMode.POSITIVE) for path in OPERATIONS),
        ("/v1/predict", GenerationMode.NEGATIVE),  # the others take no input
    ],
)
def test_answers_are_those_of_the_document(api, path, mode):
    strategy = api[path][OPERATIONS[path]].as_strategy(generation_mode=mode)

    @given(case=strategy)
    @settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def check(case):
        # Most generated bodies are no images, which the document cannot express.
        case.call_and_validate(excluded_checks=[positive_data_acceptance], timeout=TIMEOUT)

    check()


def test_document(client):
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == set(OPERATIONS)
    assert "securitySchemes" not in document.get("components", {})
    responses = document["paths"]["/v1/predict"]["post"]["responses"]
    assert set(responses) >= {"200", "413", "415", "422", "429"}
    for path, method in OPERATIONS.items():  # what any connection may get
        operation = document["paths"][path][method.lower()]
        assert set(operation["responses"]) >= {"200", "400", "405", "408", "431", "503"}
    for status, response in responses.items():
        if status != "200":
            assert set(response["content"]) == {"application/problem+json"}


def test_document_names_the_token(predictor):
    with running(predictor, token="secret-1") as server, server.client() as client:
        document = client.get("/openapi.json").json()
        operation = document["paths"]["/v1/predict"]["post"]
        assert operation["security"] == [{"HTTPBearer": []}]
        assert "401" in operation["responses"]
        health = document["paths"]["/livez"]["get"]
        assert "security" not in health
