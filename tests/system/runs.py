"""Runs of DAGs, for the tests of this folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from bitrix24_sandbox.portal import Portal

from dev.local_airflow import LocalAirflow

ENDED = {"success", "failed"}


def states_of(airflow: LocalAirflow, dag_id: str, run_id: str) -> dict[str, str]:
    """Return the states of a run's tasks by name; a mapped one has its number behind the name."""
    return {
        f"{instance['task_id']}{'' if instance['map_index'] < 0 else instance['map_index']}": instance["state"]
        for instance in airflow.task_instances(dag_id, run_id)
    }


def finish(
    airflow: LocalAirflow, dag_id: str, conf: dict[str, Any], meanwhile: Callable[[dict[str, str]], None] | None = None
) -> str:
    """Run a DAG to its end, whatever that is, and return the run's id.

    :param meanwhile: is shown the states again and again.
    """
    run_id = airflow.run_dag(dag_id, conf)

    def ended() -> bool:
        if meanwhile is not None:
            meanwhile(states_of(airflow, dag_id, run_id))
        return airflow.run_state(dag_id, run_id) in ENDED

    try:
        airflow.wait_for(f"the end of {dag_id}", ended)
    finally:
        pause(airflow, dag_id)
    return run_id


def wait_for_question(airflow: LocalAirflow, dag_id: str, run_id: str, task_id: str) -> None:
    """Return when a task waits for a person and Airflow is ready for the answer.

    An answer that comes before the scheduler has seen the end of the task's first process fails the task.
    """
    asking = {"deferred", "awaiting_input"}  # the second one since Airflow 3.3
    airflow.wait_for("the question", lambda: states_of(airflow, dag_id, run_id).get(task_id) in asking)
    event = re.compile(rf"executor event with state success .*{re.escape(dag_id)}.*{task_id}.*{re.escape(run_id)}")
    scheduler = airflow.home / "scheduler.out"
    airflow.wait_for("the end of its process", lambda: event.search(scheduler.read_text("utf-8", "replace")))


def pause(airflow: LocalAirflow, dag_id: str) -> None:
    """Have a DAG do nothing more: one with a schedule would go on by itself and disturb what comes next."""
    airflow.request("PATCH", f"/dags/{dag_id}", {"is_paused": True})

    def rests() -> bool:
        runs = airflow.request("GET", f"/dags/{dag_id}/dagRuns?order_by=-run_after&limit=20")["dag_runs"]
        states = {state for run in runs for state in states_of(airflow, dag_id, run["dag_run_id"]).values()}
        return not states & {"queued", "running"}

    airflow.wait_for(f"{dag_id} to rest", rests)


def answer_once_deferred(portal: Portal, event_id: int, letter: str, *waiting: str) -> Callable[[dict[str, str]], None]:
    """Return what answers a meeting as user 1 as soon as the tasks named wait for it."""

    def look(states: dict[str, str]) -> None:
        if all(states.get(task) in {"deferred", "up_for_reschedule"} for task in waiting):
            portal.answer(event_id, 1, letter)

    return look
