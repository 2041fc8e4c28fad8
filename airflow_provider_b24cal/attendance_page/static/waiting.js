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
  const wanted = list.dataset.eventIds.split(",").filter(Boolean);

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

  // A meeting has another id in each attendee's calendar. The tables know which ids belong to the same meeting.
  const meetingId = (id, known) => String(known[id]?.parent_id ?? id);

  const meeting = (id, known) => {
    const query = new URLSearchParams({ event_id: id });
    if (list.dataset.zone !== "UTC") query.set("tz", list.dataset.zone);
    if (list.dataset.portal) query.set("portal", list.dataset.portal);
    const link = element("a", "", { href: `meetings?${query}` });
    link.append(element("bdi", known[id]?.name || `Meeting ${id}`));
    return link;
  };

  const fact = (facts, name, ...values) => {
    const pair = document.createElement("div");
    const value = document.createElement("dd");
    value.append(...values);
    pair.append(element("dt", name), value);
    facts.append(pair);
  };

  const row = (task, known) => {
    const named = ids(task.rendered_fields || {});
    const item = document.createElement("li");
    const title = document.createElement("h3");
    const shown = named.slice(0, SHOWN_IDS).flatMap((id, place) => (place ? [", ", meeting(id, known)] : [meeting(id, known)]));
    title.append(...(shown.length ? shown : ["Unknown meeting"]));
    if (named.length > SHOWN_IDS) title.append(` and ${named.length - SHOWN_IDS} more`);
    const facts = element("dl", "", { class: "facts" });
    const run = ["dags", task.dag_id, "runs", task.dag_run_id];
    const mapped = task.map_index >= 0;
    fact(facts, "Required", required(task, named.length));
    const state = task.state === "deferred" ? "deferred" : "rescheduled";
    if (task.since) fact(facts, "Waiting since", `${moment(task.since)} (${state})`);
    else fact(facts, "Last poll", `${moment(task.start_date)} (${state})`);
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
  const addFields = async (tasks) => {
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

  // A task that is rescheduled starts anew with each poll. Airflow's log of events has the first start, from 3.2 on and
  // for those who may read it.
  const addSince = async (tasks) => {
    for (const task of tasks) if (task.state === "deferred") task.since = task.start_date;
    const rescheduled = tasks.filter((task) => task.state !== "deferred").slice(0, LIMIT);
    await Promise.all(rescheduled.map(async (task) => {
      const query = new URLSearchParams({
        dag_id: task.dag_id, run_id: task.dag_run_id, task_id: task.task_id, map_index: task.map_index,
        try_number: task.try_number, event: "running", order_by: "when", limit: 1,
      });
      try {
        task.since = (await read(new URL(`api/v2/eventLogs?${query}`, ROOT))).event_logs[0]?.when;
      } catch {
        // the last poll says something too
      }
    }));
    return tasks;
  };

  const readMeetings = async (tasks) => {
    const named = [...new Set([...wanted, ...tasks.flatMap((task) => ids(task.rendered_fields || {}))])];
    const query = new URLSearchParams(list.dataset.portal ? { portal: list.dataset.portal } : {});
    const known = {};
    const most = LIMIT * REQUESTS;
    let complete = named.length <= most;
    try {
      for (let start = 0; start < Math.min(named.length, most); start += LIMIT) {
        query.set("event_id", named.slice(start, start + LIMIT).join(","));
        Object.assign(known, await read(`meetings.json?${query}`));
      }
    } catch {
      complete = false;
    }
    return { known, complete };
  };

  const show = async () => {
    if (framed) {
      document.getElementById("address").textContent = window.location.href;
      document.getElementById("frame").hidden = false;
    }
    status.textContent = "Reading from Airflow.";
    try {
      const { found, left } = await readTasks();
      const waiting = await addFields(found.filter((task) => OPERATORS.includes(task.operator)));
      const { known, complete } = await readMeetings(waiting);
      const meetings = new Set(wanted.map((id) => meetingId(id, known)));
      const tasks = await addSince(waiting.filter(
        (task) => !wanted.length || ids(task.rendered_fields || {}).some((id) => meetings.has(meetingId(id, known)))));
      list.replaceChildren(...tasks.map((task) => row(task, known)));
      const more = (left ? ` ${left} more were not looked at.` : "") +
        (complete ? "" : " Some ids could not be looked up in the tables: meetings may lack their names, and tasks that use an attendee's id may be missing.");
      const which = wanted.length ? ` for ${wanted.length === 1 ? "this meeting" : "these meetings"}` : "";
      status.textContent = tasks.length
        ? `${tasks.length} ${tasks.length === 1 ? "task waits" : "tasks wait"}${which}.${more}`
        : `No task waits${which}.${more}`;
    } catch (error) {
      status.textContent = `Airflow's REST API did not answer (${error.message}). You need the right to read task instances; then load this page again.`;
    }
  };

  show();
})();
