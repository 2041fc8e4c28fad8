"""Connections made and tested without a browser: Airflow's own commands and REST API."""

from __future__ import annotations

import json
from importlib.metadata import version
from importlib.util import find_spec

import httpx
import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.get_provider_info import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from dev.local_airflow import LocalAirflow

pytestmark = pytest.mark.xdist_group("airflow")

MARTIN = 2
CONNECTED = "Connected to {url} as Martin Keller (user 2); scopes: calendar, user, im, sonet_group, department."


@pytest.mark.parametrize("form", ["json", "uri"])
def test_added_and_tested_by_command(
    form: str, airflow: LocalAirflow, data_server: SandboxServer, portal: Portal
) -> None:
    stored = getattr(data_server, f"connection_{form}")(MARTIN)
    added = airflow.command("connections", "add", f"by_{form}", f"--conn-{form}", stored)
    assert added.returncode == 0, added.stdout + added.stderr
    tested = airflow.command("connections", "test", f"by_{form}")
    # Airflow's command prints this in place of the hook's words.
    assert "Connection success!" in tested.stdout, tested.stdout + tested.stderr
    assert tested.returncode == 0
    assert portal.count()["requests"] == 1
    assert data_server.secret(MARTIN) not in tested.stdout + tested.stderr


def test_a_test_by_command_says_what_to_do(airflow: LocalAirflow, data_server: SandboxServer, portal: Portal) -> None:
    wrong = json.loads(data_server.connection_json(MARTIN)) | {"login": "3"}
    airflow.command("connections", "add", "of_somebody_else", "--conn-json", json.dumps(wrong))
    tested = airflow.command("connections", "test", "of_somebody_else")
    # Before 3.3, Airflow's command ends with 0 all the same.
    assert "Connection success!" not in tested.stdout
    assert "Create a new one under Developer resources" in " ".join(tested.stdout.split())


@pytest.mark.parametrize("port", [{}, {"port": None}, {"port": 0}, {"port": 443}])
def test_every_port_that_forms_send(
    port: dict[str, int | None], airflow: LocalAirflow, data_server: SandboxServer, portal: Portal
) -> None:
    tested = airflow.request(
        "POST",
        "/connections/test",
        {"connection_id": "sent", "conn_type": "bitrix24", "password": data_server.webhook_url(MARTIN), **port},
    )
    assert tested == {"status": True, "message": CONNECTED.format(url=data_server.url)}


@pytest.mark.skipif(
    version("apache-airflow").startswith("3.0.") and find_spec("flask_appbuilder") is None,
    reason="Airflow 3.0 shows fields only beside the provider fab, which is not installed",
)
def test_the_web_ui_is_reported_of_every_field(airflow: LocalAirflow) -> None:
    with httpx.Client(base_url=airflow.url, timeout=120) as client:
        login = client.post("/auth/token", json={"username": "admin", "password": airflow.password}).json()
        token = {"Authorization": f"Bearer {login['access_token']}"}
        reported = client.get("/ui/connections/hook_meta", headers=token).raise_for_status().json()
    (ours,) = [kind for kind in reported if kind["connection_type"] == "bitrix24"]
    standard = ours["standard_fields"]
    if standard is None and version("apache-airflow").startswith("3.1."):
        pytest.skip("a server of Airflow 3.1 that has tested a connection shows no fields")
    assert standard["url_schema"]["hidden"] is True
    assert {name: standard[name]["title"] for name in UI_FIELD_BEHAVIOUR["relabeling"]} == UI_FIELD_BEHAVIOUR[
        "relabeling"
    ]
    extra = {
        key: (field["schema"]["title"], field["description"], field["schema"].get("format"))
        for key, field in ours["extra_fields"].items()
    }
    assert extra == {
        key: (field["label"], field["description"], field["schema"].get("format"))
        for key, field in CONNECTION_FIELDS.items()
    }
