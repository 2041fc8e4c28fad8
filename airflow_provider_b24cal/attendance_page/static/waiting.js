// Lists the waiting tasks: read from Airflow's REST API with the rights of whoever looks at the page.
"use strict";
(() => {
  const OPERATORS = ["Bitrix24MeetingStatusSensor", "Bitrix24AttendeesSensor"];
  const WORDS = { Y: "accepted", N: "declined", Q: "not answered" };
  const LIMIT = 100;
  const REQUESTS = 10;
  const SHOWN_IDS = 20;
  const ROOT = new URL("../../", window.location.href);
  const list = document.getElementById("waiting");
  const status = document.getElementById("status");
  const framed = window.self !== window.top;
  const wanted = new Set(list.dataset.eventIds.split(",").filter(Boolean));

  const element = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };

  const read = async (url) => {
    const reply = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin" });
    if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
    return reply.json();
  };

  // Rendered fields are JSON, or a text of it where it is long or a template made it.
  const ids = (fields) => {
    const given = [fields.event_id, fields.event_ids].filter((value) => value !== null && value !== undefined);
    return [...new Set(given.flatMap((value) => String(value).match(/\d+/g) || []))];
  };

  const required = (task, count) => {
    const fields = task.rendered_fields || {};
    const quorum = String(fields.require ?? "all");
    if (task.operator === "Bitrix24AttendeesSensor") {
      const users = (String(fields.users ?? "").match(/\d+/g) || []).length;
      const who = users ? `${users} named users` : "the invited people";
      return `${quorum} of ${who}: ${fields.count ?? "accepted"}`;
    }
    const letter = String(fields.target_status ?? "Y").toUpperCase();
    return `${quorum} of ${count} ${count === 1 ? "meeting" : "meetings"}: ${WORDS[letter] || letter}`;
  };

  const moment = (text) => {
    if (!text) return "unknown";
    const options = { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" };
    try {
      return new Intl.DateTimeFormat("en-GB", { ...options, timeZone: list.dataset.zone }).format(new Date(text));
    } catch {
      return `${new Intl.DateTimeFormat("en-GB", { ...options, timeZone: "UTC" }).format(new Date(text))} UTC`;
    }
  };

  const target = (path, name) => {
    const url = new URL(path.map(encodeURIComponent).join("/"), ROOT).href;
    return framed ? element("span", name, { class: "copy" }) : element("a", name, { href: url });
  };

  const meeting = (id, names) => {
    const query = new URLSearchParams({ event_id: id });
    if (list.dataset.zone !== "UTC") query.set("tz", list.dataset.zone);
    if (list.dataset.portal) query.set("portal", list.dataset.portal);
    const link = element("a", "", { href: `meetings?${query}` });
    link.append(element("bdi", names[id] || `Meeting ${id}`));
    return link;
  };

  const fact = (facts, name, ...values) => {
    const pair = document.createElement("div");
    const value = document.createElement("dd");
    value.append(...values);
    pair.append(element("dt", name), value);
    facts.append(pair);
  };

  const row = (task, names) => {
    const known = ids(task.rendered_fields || {});
    const item = document.createElement("li");
    const title = document.createElement("h3");
    const shown = known.slice(0, SHOWN_IDS).flatMap((id, place) => (place ? [", ", meeting(id, names)] : [meeting(id, names)]));
    title.append(...(shown.length ? shown : ["Unknown meeting"]));
    if (known.length > SHOWN_IDS) title.append(` and ${known.length - SHOWN_IDS} more`);
    const facts = element("dl", "", { class: "facts" });
    const run = ["dags", task.dag_id, "runs", task.dag_run_id];
    const mapped = task.map_index >= 0;
    fact(facts, "Required", required(task, known.length));
    // A task that is rescheduled starts anew with each poll.
    if (task.state === "deferred") fact(facts, "Waiting since", `${moment(task.start_date)} (deferred)`);
    else fact(facts, "Last poll", `${moment(task.start_date)} (rescheduled)`);
    if (task.run_after) fact(facts, "Run of", moment(task.run_after));
    fact(facts, "Task", target([...run, "tasks", task.task_id, ...(mapped ? ["mapped", String(task.map_index)] : [])],
      mapped ? `${task.task_id} [${task.map_index}]` : task.task_id));
    fact(facts, "Run", target(run, task.dag_run_id));
    fact(facts, "DAG", target(["dags", task.dag_id], task.dag_display_name || task.dag_id));
    item.append(title, facts);
    return item;
  };

  const readTasks = async () => {
    const found = [];
    let total = 0;
    for (let request = 0; request < REQUESTS; request += 1) {
      const query = new URLSearchParams({ limit: LIMIT, offset: found.length, order_by: "start_date" });
      for (const state of ["deferred", "up_for_reschedule"]) query.append("state", state);
      for (const operator of OPERATORS) query.append("operator", operator);
      const page = await read(new URL(`api/v2/dags/~/dagRuns/~/taskInstances?${query}`, ROOT));
      total = page.total_entries;
      found.push(...page.task_instances);
      if (!page.task_instances.length || found.length >= total) break;
    }
    return { found, left: Math.max(0, total - found.length) };
  };

  // Lists of Airflow 3.1 leave the rendered fields out.
  const complete = async (tasks) => {
    const bare = tasks.filter((task) => !Object.keys(task.rendered_fields || {}).length).slice(0, LIMIT);
    await Promise.all(bare.map(async (task) => {
      const path = ["dags", task.dag_id, "dagRuns", task.dag_run_id, "taskInstances", task.task_id];
      if (task.map_index >= 0) path.push(String(task.map_index));
      try {
        const whole = await read(new URL(`api/v2/${path.map(encodeURIComponent).join("/")}`, ROOT));
        task.rendered_fields = whole.rendered_fields;
      } catch {
        // it has ended in the meantime, or stays without its meeting
      }
    }));
    return tasks;
  };

  const readNames = async (tasks) => {
    const known = [...new Set(tasks.flatMap((task) => ids(task.rendered_fields || {}).slice(0, SHOWN_IDS)))];
    if (!known.length) return {};
    const query = new URLSearchParams({ event_id: known.slice(0, 100).join(",") });
    if (list.dataset.portal) query.set("portal", list.dataset.portal);
    try {
      return await read(`names?${query}`);
    } catch {
      return {}; // the ids say enough
    }
  };

  const show = async () => {
    if (framed) {
      document.getElementById("address").textContent = window.location.href;
      document.getElementById("frame").hidden = false;
    }
    status.textContent = "Reading from Airflow.";
    try {
      const { found, left } = await readTasks();
      const tasks = (await complete(found.filter((task) => OPERATORS.includes(task.operator))))
        .filter((task) => !wanted.size || ids(task.rendered_fields || {}).some((id) => wanted.has(id)));
      const names = await readNames(tasks);
      list.replaceChildren(...tasks.map((task) => row(task, names)));
      const more = left ? ` ${left} more were not looked at.` : "";
      const which = wanted.size ? ` for ${wanted.size === 1 ? "this meeting" : "these meetings"}` : "";
      status.textContent = tasks.length
        ? `${tasks.length} ${tasks.length === 1 ? "task waits" : "tasks wait"}${which}.${more}`
        : `No task waits${which}.${more}`;
    } catch (error) {
      status.textContent = `Airflow's REST API did not answer (${error.message}). You need the right to read task instances; then load this page again.`;
    }
  };

  show();
})();
