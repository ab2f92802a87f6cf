"use strict";
function copy(text, button) {
  const said = button.textContent;
  const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = said; }, 1500); };
  const fallback = () => {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    button.focus();
    done();
  };
  if (navigator.clipboard && window.isSecureContext) navigator.clipboard.writeText(text).then(done, fallback);
  else fallback();
}
const NUMBER = /^[-+]?[\d.,]+(e[-+]?\d+)?( ± [\d.,?∞]+)?( \([-\d.,–]+\))?( ?%)?$/;
function harmless(text) {  // spreadsheets run a cell that begins like this as a formula
  return /^[=+\-@\t\r]/.test(text) && !NUMBER.test(text) ? `'${text}` : text;
}
function csv(table) {
  const quoted = (cell) => `"${harmless(cell.textContent.trim()).replaceAll('"', '""')}"`;
  return [...table.rows].map((row) => [...row.cells].map(quoted).join(",")).join("\n");
}
for (const button of document.querySelectorAll(".copy-table"))
  button.addEventListener("click", () => copy(csv(document.getElementById(button.dataset.table)), button));
for (const button of document.querySelectorAll(".copy-code"))
  button.addEventListener("click", () => copy(button.closest("p").previousElementSibling.textContent, button));
const more = document.querySelector(".open-more");
if (more) {  // on a narrow screen the answer is shortened; without scripts all of it is shown
  const verdict = more.closest("section");
  verdict.classList.add("shortened");
  more.addEventListener("click", () => verdict.classList.remove("shortened"));
}
let closed = [];
window.addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const part of closed) part.open = true;
});
window.addEventListener("afterprint", () => { for (const part of closed) part.open = false; });
