// The list of pages is longer than the window: begin with the part that holds the current page.
document.addEventListener("DOMContentLoaded", () => {
  const list = document.querySelector(".sidebar-scroll");
  const current = list?.querySelector(".current-page > .reference");
  if (current) {
    const below = current.getBoundingClientRect().top - list.getBoundingClientRect().top;
    list.scrollTop += Math.max(0, below - list.clientHeight / 2);
  }
});
