// Filters the table of claims by words and by verdict. Without it the page shows the whole table.
document.addEventListener("DOMContentLoaded", () => {
  const table = document.querySelector("#claims table");
  if (!table) return;
  const rows = [...table.tBodies[0].rows];
  const verdictOf = (row, column) => [...row.cells].at(column).textContent.trim();
  const controls = document.createElement("form");
  controls.className = "claims-filter";
  const words = document.createElement("input");
  words.type = "search";
  words.size = 26;
  words.placeholder = "such as HNSW or Table 4";
  const selects = [-1, -2].map((column) => {
    const select = document.createElement("select");
    select.dataset.column = column;
    select.add(new Option("any", ""));
    [...new Set(rows.map((row) => verdictOf(row, column)))].sort().forEach((text) => select.add(new Option(text)));
    return select;
  });
  const count = document.createElement("output");
  const label = (text, control) => {
    const element = document.createElement("label");
    element.append(text, control);
    return element;
  };
  controls.append(label("Words ", words), label("On our numbers ", selects[0]));
  controls.append(label("On the paper's numbers ", selects[1]), count);
  const filter = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      const kept = wanted.every((word) => text.includes(word)) &&
        selects.every((select) => !select.value || verdictOf(row, Number(select.dataset.column)) === select.value);
      row.hidden = !kept;
      shown += kept;
    }
    count.textContent = `${shown} of ${rows.length} claims`;
  };
  controls.addEventListener("input", filter);
  controls.addEventListener("submit", (event) => event.preventDefault());
  table.parentElement.before(controls);
  filter();
});
