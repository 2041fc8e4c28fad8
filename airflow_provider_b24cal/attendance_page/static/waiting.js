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

  // Rendered fields are JSON, or a text of it where it is long or a template made it. Airflow cuts a text that is too
  // long; its last number may then be a part of one.
  const numbers = (values) => {
    const texts = values.map((value) => String(value ?? ""));
    const cut = texts.some((text) => text.startsWith("Truncated. "));
    const found = texts.flatMap((text) => text.match(/\d+/g) || []);
    return { found: [...new Set(cut ? found.slice(0, -1) : found)], cut };
  };

  const meetingsOf = (task) => {
    const fields = task.rendered_fields || {};
    return numbers([fields.event_id, fields.event_ids]);
  };

  const ids = (task) => meetingsOf(task).found;

  // A sensor has a meeting at least. One without was not read, or its fields are no longer kept.
  const complete = (task) => !meetingsOf(task).cut && ids(task).length > 0;

  const counted = (count, one, many) => `${count} ${count === 1 ? one : many}`;

  const amount = ({ found, cut }, one, many) =>
    cut ? `at least ${counted(found.length + 1, one, many)}` : counted(found.length, one, many);

  const required = (task) => {
    const fields = task.rendered_fields || {};
    if (!Object.keys(fields).length) return "unknown";
    const quorum = String(fields.require ?? "all");
    if (task.operator === "Bitrix24AttendeesSensor") {
      const users = numbers([fields.users]);
      const who = users.cut || users.found.length ? amount(users, "named user", "named users") : "the invited people";
      return `${quorum} of ${who}: ${fields.count ?? "accepted"}`;
    }
    const letter = String(fields.target_status ?? "Y").toUpperCase();
    return `${quorum} of ${amount(meetingsOf(task), "meeting", "meetings")}: ${WORDS[letter] || letter}`;
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
    const { found: named, cut } = meetingsOf(task);
    const item = document.createElement("li");
    const title = document.createElement("h3");
    const shown = named.slice(0, SHOWN_IDS).flatMap((id, place) => (place ? [", ", meeting(id, known)] : [meeting(id, known)]));
    title.append(...(shown.length ? shown : ["Unknown meeting"]));
    if (named.length > SHOWN_IDS) title.append(` and ${cut ? "at least " : ""}${named.length - SHOWN_IDS} more`);
    else if (cut && named.length) title.append(" and more");
    const facts = element("dl", "", { class: "facts" });
    const run = ["dags", task.dag_id, "runs", task.dag_run_id];
    const mapped = task.map_index >= 0;
    fact(facts, "Required", required(task));
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
        // it has ended in the meantime, or counts among those whose meetings are not known
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
    const named = [...new Set([...wanted, ...tasks.flatMap(ids)])];
    const query = new URLSearchParams(list.dataset.portal ? { portal: list.dataset.portal } : {});
    const known = {};
    const most = LIMIT * REQUESTS;
    let allKnown = named.length <= most;
    try {
      for (let start = 0; start < Math.min(named.length, most); start += LIMIT) {
        query.set("event_id", named.slice(start, start + LIMIT).join(","));
        Object.assign(known, await read(`meetings.json?${query}`));
      }
    } catch {
      allKnown = false;
    }
    return { known, allKnown };
  };

  const unsureText = (count) => {
    if (!count) return "";
    return wanted.length
      ? ` ${count} more may wait: not all of ${count === 1 ? "its" : "their"} meetings are known.`
      : ` Not all meetings of ${counted(count, "task", "tasks")} are known.`;
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
      const { known, allKnown } = await readMeetings(waiting);
      const meetings = new Set(wanted.map((id) => meetingId(id, known)));
      const tasks = await addSince(waiting.filter(
        (task) => !wanted.length || ids(task).some((id) => meetings.has(meetingId(id, known)))));
      list.replaceChildren(...tasks.map((task) => row(task, known)));
      const unsure = waiting.filter((task) => !complete(task) && !(wanted.length && tasks.includes(task))).length;
      const more = (left ? ` ${left} more were not looked at.` : "") + unsureText(unsure) +
        (allKnown ? "" : " Some ids could not be looked up in the tables: meetings may lack their names, and tasks that use an attendee's id may be missing.");
      const which = wanted.length ? ` for ${wanted.length === 1 ? "this meeting" : "these meetings"}` : "";
      status.textContent = tasks.length
        ? `${counted(tasks.length, "task waits", "tasks wait")}${which}.${more}`
        : `No task ${more ? "is known to wait" : "waits"}${which}.${more}`;
    } catch (error) {
      status.textContent = `Airflow's REST API did not answer (${error.message}). You need the right to read task instances; then load this page again.`;
    }
  };

  show();
})();
