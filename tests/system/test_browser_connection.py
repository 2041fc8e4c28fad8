"""The connection form of Airflow 3.3, as a person sees and uses it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from playwright.sync_api import Locator, Page, expect

from airflow_provider_b24cal.get_provider_info import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from dev.local_airflow import LocalAirflow
from tests.system.browser import Window

pytestmark = pytest.mark.xdist_group("airflow")


def _add(page: Page, connection_id: str) -> Locator:
    """Open the form for a new connection of our type."""
    page.goto("/connections")
    page.get_by_role("button", name="Add Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Connection ID").fill(connection_id)
    form.get_by_role("combobox", name="Connection Type").fill("Bitrix24")
    page.get_by_role("option", name="Bitrix24", exact=True).click()
    form.get_by_label("Webhook URL").wait_for()
    return form


def _edit(page: Page, connection_id: str) -> Locator:
    _row(page, connection_id).get_by_role("button", name="Edit Connection").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Webhook URL").wait_for()
    return form


def _row(page: Page, connection_id: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("cell", name=connection_id, exact=True))


def _save(form: Locator) -> None:
    form.get_by_role("button", name="Save").click()
    form.wait_for(state="hidden")


def _test(page: Page, connection_id: str) -> str:
    """Press the Test button and return what Airflow shows."""
    _row(page, connection_id).get_by_role("button", name="Test Connection").click()
    # In one look: it vanishes by itself.
    return page.get_by_role("status").filter(has_text="Test Connection").inner_text()


def test_says_what_belongs_where(window: Window) -> None:
    form = _add(window.page, "portal_of_anna")
    for name, label in UI_FIELD_BEHAVIOUR["relabeling"].items():
        field = form.get_by_label(label, exact=True)
        expect(field).to_be_visible()
        expect(field).to_have_attribute("placeholder", UI_FIELD_BEHAVIOUR["placeholders"][name])
    expect(form.get_by_label("Schema", exact=True)).to_have_count(0)
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    for field in CONNECTION_FIELDS.values():
        group = form.get_by_role("group").filter(has_text=field["label"]).filter(has_text=field["description"])
        expect(group).to_be_visible()
    proxy = form.get_by_role("group").filter(has_text=CONNECTION_FIELDS["proxy"]["description"])
    expect(proxy.locator("input")).to_have_attribute("type", "password")


def test_is_saved_reopened_tested_and_used(
    window: Window, data_server: SandboxServer, portal: Portal, airflow: LocalAirflow
) -> None:
    page, name = window.page, "portal_of_anna"
    form = _add(page, name)
    secret = form.get_by_label("Webhook URL")
    expect(secret).to_have_attribute("type", "password")
    window.picture("connection_form", form)
    secret.fill(data_server.webhook_url(1))
    form.get_by_label("Port (enter 443)", exact=True).fill("443")
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    form.get_by_label("Timeout (seconds)").fill("30")
    _save(form)

    form = _edit(page, name)
    expect(form.get_by_label("Webhook URL")).to_have_value("***")
    expect(form.get_by_label("Webhook URL")).to_have_attribute("type", "password")
    expect(form.get_by_label("Port (enter 443)", exact=True)).to_have_value("443")
    form.get_by_role("button", name="Extra Fields", exact=True).click()
    expect(form.get_by_label("Timeout (seconds)")).to_have_value("30")
    assert data_server.secret(1) not in page.content()
    form.get_by_role("button", name="Standard Fields", exact=True).click()
    form.get_by_label("Description").fill("Answers of Anna")
    _save(form)
    expect(_row(page, name)).to_contain_text("Answers of Anna")

    shown = _test(page, name)
    window.picture("connection_test")
    assert (
        f"Connected to {data_server.url} as Anna Orlova (user 1); scopes: calendar, user, im, sonet_group, department."
        in shown
    )
    assert portal.count()["requests"] == 1

    run_id = airflow.run_dag("by_connection", {"bitrix24_conn_id": name})
    airflow.wait_for("the reading", lambda: airflow.run_state("by_connection", run_id) in {"success", "failed"})
    assert airflow.run_state("by_connection", run_id) == "success", airflow.task_logs("dag_id=by_connection")
    assert airflow.xcom("by_connection", run_id, "read") == "Q"


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which connections are refused; the port is kept, so that nobody else can take it."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{kept.getsockname()[1]}"


@pytest.mark.parametrize(
    ("name", "webhook", "wanted"),
    [
        ("dead_code", "{url}/rest/1/n0suchc0de000000/", "The portal does not accept this webhook"),
        ("no_url", "n0suchc0de000000", "Portal (host): expected the portal"),
        ("no_portal", "{nobody}/rest/1/n0suchc0de000000/", "Check the portal's address in the connection"),
    ],
)
def test_says_what_is_wrong(
    name: str, webhook: str, wanted: str, nobody: str, window: Window, data_server: SandboxServer, portal: Portal
) -> None:
    form = _add(window.page, name)
    form.get_by_label("Webhook URL").fill(webhook.format(url=data_server.url, nobody=nobody))
    form.get_by_label("Port (enter 443)", exact=True).fill("443")
    _save(form)
    shown = _test(window.page, name)
    assert "Test Connection Failed" in shown
    assert wanted in shown
    assert "n0suchc0de" not in shown
