// Inside Airflow's frame the page takes Airflow's theme; elsewhere it has that of the system.
"use strict";
(() => {
  const own = document.documentElement;
  let airflow;
  try {
    airflow = window.parent === window ? null : window.parent.document.documentElement;
  } catch {
    airflow = null; // a frame of another origin
  }
  if (!airflow) return;
  const follow = () => {
    const dark = airflow.classList.contains("dark") || airflow.style.colorScheme === "dark";
    const light = airflow.classList.contains("light") || airflow.style.colorScheme === "light";
    if (dark || light) own.dataset.theme = dark ? "dark" : "light";
  };
  follow();
  new MutationObserver(follow).observe(airflow, { attributes: true, attributeFilter: ["class", "style"] });
})();
