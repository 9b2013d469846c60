"use strict";
{
  const root = document.documentElement;
  const theme = document.getElementById("theme");
  const remember = (value) => { try { localStorage.setItem("theme", value); } catch { /* a private window */ } };
  try {
    const known = localStorage.getItem("theme");
    if (known === "light" || known === "dark") root.dataset.theme = known;
  } catch { /* a private window */ }
  theme.hidden = false;
  theme.addEventListener("click", () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    remember(root.dataset.theme);
  });

  // A number shows its record here, instead of leading away to it.
  const dialog = document.getElementById("origin");
  const body = dialog.querySelector("div");
  document.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
    const link = event.target.closest("a[href^='#record-']");
    const record = link && document.getElementById(link.getAttribute("href").slice(1));
    if (!record) return;
    event.preventDefault();
    const said = document.createElement("p");
    said.className = "said";
    said.textContent = link.getAttribute("title") ?? link.querySelector("title")?.textContent ?? "";
    body.replaceChildren(said, record.querySelector("dl").cloneNode(true));
    dialog.showModal();
    dialog.scrollTop = 0;
  });

  // Paper cannot unfold.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const details of folded) details.open = true;
  });
  addEventListener("afterprint", () => {
    for (const details of folded) details.open = false;
    folded = [];
  });
}
